"""``cai init``: a commented constitution, configuration and prompts that run as they stand."""

from __future__ import annotations

from pathlib import Path

from cai.values.errors import UsageError

STARTER = Path(__file__).with_name("starter")
FILES = ("constitution.yaml", "config.yaml", "prompts.jsonl")


def write(folder: Path) -> list[Path]:
    """Write the files into ``folder``, making it if need be; returns their paths.

    Raises UsageError, before anything is written, when one of them is there already or the folder
    cannot be made.
    """
    paths = [folder / name for name in FILES]
    if present := [path.name for path in paths if path.exists() or path.is_symlink()]:
        raise UsageError(f"{folder}: {', '.join(present)} already there; nothing was written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            with path.open("xb") as file:  # "x": never over a file that has just appeared
                file.write((STARTER / path.name).read_bytes())
    except OSError as error:
        taken = folder.exists() and not folder.is_dir()
        reason = "this is a file, not a folder" if taken else error.strerror or error
        raise UsageError(f"{folder}: cannot be written: {reason}") from None
    return paths
