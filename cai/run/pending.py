"""Batches that a service is working on, and which requests are in them: two tables of the run's journal.

A batch is written down before it is asked for, and its id as soon as the service has given one: a command
that is killed in between finds out whether the service has it, and one that is killed later fetches what was
paid for. A request is known by a name that says all of its content. Rows stay: they are small, and an answer
that was fetched and not kept is fetched again by them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Any

TABLES = ("batches", "batch_rows")
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS batches (tag TEXT PRIMARY KEY, place TEXT, file TEXT, id TEXT, size INTEGER, "
    "created REAL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS batch_rows (name TEXT PRIMARY KEY, tag TEXT, booked INTEGER) WITHOUT ROWID",
)
Query = Callable[[str, tuple[Any, ...]], list[Any]]
_FIELDS = "batches.tag, batches.file, batches.id, batches.size, batches.created"


@dataclass(frozen=True, slots=True)
class Batch:
    """``tag``: our own word for it. ``file``: what was uploaded for it. ``id``: the service's; "" not known.

    ``size``: requests in it. ``created``: seconds of the epoch, by our clock, before it was asked for.
    """

    tag: str
    file: str
    id: str
    size: int
    created: float


class Pending:
    """The batches of one model at one ``place``, in the journal that ``query`` writes to and reads from."""

    def __init__(self, query: Query, place: str):
        self._query = query
        self._place = place

    def batch_of(self, name: str) -> Batch | None:
        """The batch that the request ``name`` was sent in."""
        found = self._query(
            f"SELECT {_FIELDS} FROM batch_rows JOIN batches USING (tag) WHERE name = ? AND place = ?",
            (name, self._place),
        )
        return Batch(*found[0]) if found else None

    def intend(self, batch: Batch, names: Iterable[str]) -> None:
        """Keep that ``batch`` is about to be asked for. What has no batch yet is as good as not written."""
        rows = "INSERT OR REPLACE INTO batch_rows SELECT value, ?, 0 FROM json_each(?)"
        self._query(rows, (batch.tag, json.dumps(list(names))))
        tag, *rest = astuple(batch)
        self._query("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?)", (tag, self._place, *rest))

    def made(self, tag: str, id: str) -> None:
        self._query("UPDATE batches SET id = ? WHERE tag = ?", (id, tag))

    def ids(self) -> set[str]:
        """The service's ids of all batches that this run knows."""
        return {id for (id,) in self._query("SELECT id FROM batches WHERE id <> ''", ())}

    def names(self, tag: str) -> set[str]:
        return {name for (name,) in self._query("SELECT name FROM batch_rows WHERE tag = ?", (tag,))}

    def booked(self, name: str) -> bool:
        """Whether the answer to ``name`` has come, and its cost is in the books."""
        return self._query("SELECT booked FROM batch_rows WHERE name = ?", (name,)) == [(1,)]

    def book(self, name: str) -> None:
        self._query("UPDATE batch_rows SET booked = 1 WHERE name = ?", (name,))

    def forget(self, name: str) -> None:
        """The request came to nothing there: it may be sent anew."""
        self._query("DELETE FROM batch_rows WHERE name = ?", (name,))

    def drop(self, tag: str) -> None:
        """There is no such batch: all that was to be in it may be sent anew."""
        self._query("DELETE FROM batches WHERE tag = ?", (tag,))
        self._query("DELETE FROM batch_rows WHERE tag = ?", (tag,))
