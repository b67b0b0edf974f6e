"""Look into a journal that nobody opened for it: nothing is written, nothing is mended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def peek(journal: Path, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The rows of ``query``; none where there is no such journal, or it cannot be read so."""
    if not journal.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()
    except sqlite3.Error:
        return []
