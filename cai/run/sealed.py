"""Folders that say what is in them: written whole, named file by file with its hash, looked at before use.

``training.json`` in a checkpoint's folder holds the record of its training, under ``files`` the size and
under ``sha256`` the hash of every file, and under ``seal`` a hash of the record itself. Folders that an
earlier cai wrote have sizes alone; they are compared by size.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cai.values.errors import CaiError

RECORD = "training.json"

_SETTLED = 2_000_000_000  # ns; a file as young may change once more within one tick of its clock
_known: dict[tuple[int, int, int, int], str] = {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file; computed once per process for the same device, inode, size and time of change."""
    stat = path.stat()
    identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    found = _known.get(identity)
    if found is None:
        settled = time.time_ns() - stat.st_mtime_ns > _SETTLED
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if settled:
            _known[identity] = found
    return found


def seal(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record that makes ``folder`` whole, once its files have reached the disk.

    Files get the permissions that the umask gives to new ones; safetensors writes them for the owner alone.
    """
    place = folder / RECORD
    place.touch()
    mode = place.stat().st_mode & 0o777
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != RECORD]
    for path in paths:
        path.chmod(mode)
        sync(path)
    names = {str(path.relative_to(folder)): path for path in paths}
    whole = {
        **record,
        "files": {name: path.stat().st_size for name, path in names.items()},
        "sha256": {name: file_hash(path) for name, path in names.items()},
    }
    place.write_text(json.dumps({**whole, "seal": _digest(whole)}))
    for path in (place, *{path.parent for path in paths}, folder):
        sync(path)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of ``folder``; None where there is none or it is damaged."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    stated = record.pop("seal", None)
    return record if stated is None or stated == _digest(record) else None


def damage(folder: Path, record: Mapping[str, Any]) -> str:
    """Which file of ``folder`` is not what ``record`` says, and how; "" where all are."""
    try:
        for name, size in record["files"].items():
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name} has {found} bytes instead of {size}"
        for name, stated in record.get("sha256", {}).items():
            if file_hash(folder / name) != stated:
                return f"{name} does not hold what was written"
    except OSError as error:
        return f"{Path(str(error.filename)).name} cannot be read ({error.strerror})"
    except (KeyError, AttributeError, TypeError):
        return f"{RECORD} does not name its files"
    return ""


def require_whole(folder: Path) -> None:
    """Look at a finished checkpoint before it is used. A folder without a record is nobody's to judge.

    Raises:
        CaiError: a file is missing or is not what its training wrote.
    """
    record = read_record(folder)
    wrong = damage(folder, record) if record is not None else ""
    if wrong:
        raise CaiError(
            f"{folder} is damaged: {wrong}. Make it again with the command that made it (cai run, or "
            f"cai train …). If its files were changed on purpose, delete {RECORD} there."
        )


def sync(path: Path) -> None:
    """Until what was written to a file, or renamed in a folder, has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
