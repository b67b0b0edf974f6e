"""What the commands that ask models share: settings in, work under a progress bar, an exit code out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer


def resolve(
    config: Path | None, sets: list[str] | None, flags: dict[str, Any], folder: Path | None = None
) -> Any:
    """The configuration; flags that are None were not given.

    ``folder``: of the run. One that was made before there were presets by size goes on without them.
    """
    from cai.config import settings
    from cai.engines.model_shape import measure

    given = {name: value for name, value in flags.items() if value is not None}
    before = folder is not None and settings.before_size_presets(folder / "config.yaml")
    return settings.resolve(config, sets or [], given, os.environ, None if before else measure)


def walk(
    config: Any,
    folder: Path,
    steps: list[str],
    json: bool,
    quiet: bool,
    show: Callable[[Any], None] | None = None,
) -> None:
    """Walk ``steps`` over a run folder and show what came of it."""
    from cai.pipeline import launch

    def work(progress: Any) -> tuple[Any]:
        return (launch.execute(config, folder, steps, progress),)

    finish(work, folder, steps, json, quiet, show)


def finish(
    work: Callable[[Any], Sequence[Any]],
    folder: Path,
    steps: Sequence[str],
    json: bool,
    quiet: bool,
    show: Callable[[Any], None] | None = None,
) -> None:
    """Do the work, ``show`` what came of it (default: the run's summary), exit 3 where items failed.

    ``work`` gives the folders in which it has walked ``steps``, the run's own first. What other steps, or
    other folders, have in quarantine is no outcome of this command.
    With ``json``, metrics.json goes to standard output instead.
    Of several processes the first speaks; a launcher takes any other code than 0 for a crash of them all.
    """
    from cai.cli.summary import run_summary
    from cai.pipeline import launch
    from cai.pipeline.lineage import own_failures
    from cai.run.progress import for_stream

    try:
        walked = work(for_stream(quiet or json))
    except KeyboardInterrupt:
        with suppress(OSError):  # a terminal that was closed hears nothing
            typer.echo(f"\nStopped. Every answer so far is in {folder}; the same command goes on.", err=True)
        raise
    done = walked[0]
    rank, count = launch.process()
    if rank == 0 and json:
        typer.echo(done.metrics.read_text() if done.metrics.exists() else "{}", nl=False)
    elif rank == 0:
        (show or run_summary.show)(done)
    if count == 1 and any(own_failures(each.read_failures(), steps) for each in walked):
        raise typer.Exit(3)
