"""``python -m cai`` is ``cai``. Its imports take seconds: Ctrl-C in them ends in order as well."""

from __future__ import annotations

INTERRUPTED = 130  # as ``cli/signals.py``, which is not imported yet


def main() -> None:
    """Run the command line."""
    try:
        from cai.cli.app import main as run
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    run()


if __name__ == "__main__":
    main()
