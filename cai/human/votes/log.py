"""The log of people's votes: RUN/votes.sqlite, append-only.

    log = VoteLog(run / "votes.sqlite")         # the voting page writes
    preferences(run / "votes.sqlite")           # everybody else reads

A vote is a row that is never changed; taking it back is another row that names it. Triggers in the file
refuse anything else. Write-ahead logging with ``synchronous=FULL``: when ``cast`` returns, the row has been
synced to the disk, so neither SIGKILL nor a power cut takes it away. The file keeps what was voted on
(each comparison once, under the hash of its content), so a vote means the same when the run is made anew.

What was pressed is stored ("first", "second", …) with the order of showing, not what follows from it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from cai.data import tables
from cai.data.verdicts import BOTH_BAD
from cai.human.pairs import pair_key, strength
from cai.run.folder import make_private
from cai.run.journal import digest
from cai.values.errors import CaiError, UsageError
from cai.values.types import Comparison, Judgement, Preference, Source

Choice = Literal["first", "second", "tie", "both bad", "skip"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
SCALE = 3  # strengths of preference go from 1 to this
VERSION = 1
_APPLICATION = 0x63616976  # "caiv", so that another program's file is not taken for ours

_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE pairs (hash TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID",
    """
CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    time REAL NOT NULL,                        -- seconds since 1970
    uuid TEXT NOT NULL UNIQUE,                 -- made by the page: a vote sent twice is one vote
    annotator TEXT NOT NULL,
    item TEXT,                                 -- the pair under its question
    pair TEXT REFERENCES pairs (hash),
    question_id TEXT,
    question TEXT,
    shown_first TEXT CHECK (shown_first IN ('a', 'b')),
    choice TEXT CHECK (choice IN ('first', 'second', 'tie', 'both bad', 'skip')),
    strength INTEGER CHECK (strength BETWEEN 1 AND 3),
    reason TEXT,
    repeat INTEGER CHECK (repeat IN (0, 1)),   -- 1: the annotator had voted on it before
    seconds REAL,                              -- from showing to voting, by the page's clock
    takes_back TEXT REFERENCES log (uuid),     -- set in a row that takes a vote back, and only there
    CHECK ((choice IS NULL) != (takes_back IS NULL))
)""",
    "CREATE UNIQUE INDEX taken_back ON log (takes_back) WHERE takes_back IS NOT NULL",
    *(
        f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE (ABORT, 'votes are never changed or deleted'); END"
        for table in ("log", "pairs")
        for verb in ("UPDATE", "DELETE")
    ),
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote as it was cast. Field names are columns of the log.

    ``choice`` is of the responses in the order of showing; ``shown_first`` says which came first.
    """

    uuid: str
    annotator: str
    item: str
    pair: str
    question_id: str
    question: str
    shown_first: Literal["a", "b"]
    choice: Choice
    strength: int | None = None
    reason: str | None = None
    repeat: bool = False
    seconds: float | None = None

    @property
    def p(self) -> float | None:
        """P(a preferred); None where neither response is said to be better or equal."""
        if self.choice == "tie":
            return 0.5
        if self.choice not in ("first", "second"):
            return None
        k = SCALE if self.strength is None else self.strength
        for_a = (self.choice == "first") == (self.shown_first == "a")
        # Twelve digits, as in pairs.py: 1/6 from one order is the complement of 5/6 from the other.
        return round(strength(k if for_a else -k, SCALE), 12)


_COLUMNS = ", ".join(field.name for field in fields(Vote))
_STANDING = f"""
SELECT {", ".join(f"v.{field.name}" for field in fields(Vote))} FROM log v
LEFT JOIN log u ON u.takes_back = v.uuid
WHERE v.choice IS NOT NULL AND u.uuid IS NULL ORDER BY v.number"""


def content_hash(comparison: Comparison) -> str:
    """Identity of a comparison with everything in it, ids included."""
    return digest("comparison", tables.comparison_row(comparison))[:32]


def preferences(path: Path) -> list[Preference]:
    """The votes that stand, in the order of casting; those taken back and skipped pairs are left out.

    A pair that was shown twice to an annotator gives two preferences (see ``repeats``).

    Raises:
        UsageError: there is no such file.
        CaiError: it is damaged, no log of votes, or of a newer version of cai.
    """
    return [_preference(vote, comparison) for vote, comparison in standing(path) if vote.choice != "skip"]


def repeats(path: Path) -> set[tuple[str, str]]:
    """(annotator, ``pairs.pair_key``) of what was shown a second time. Raises as ``preferences``."""
    return {(vote.annotator, pair_key(comparison)) for vote, comparison in standing(path) if vote.repeat}


def standing(path: Path) -> list[tuple[Vote, Comparison]]:
    """Every vote that stands, skips included, with what it is about. Raises as ``preferences``."""
    if not path.is_file():
        raise UsageError(f"{path}: no votes yet; cai annotate {path.parent} collects them")
    with _explained(path):
        db = _connect(path)
        try:
            if not _version(db, path):
                return []
            content = {
                name: tables.comparison_from(json.loads(text))
                for name, text in db.execute("SELECT hash, content FROM pairs")
            }
            return [(vote, content[vote.pair]) for vote in map(_vote, db.execute(_STANDING))]
        finally:
            db.close()


class VoteLog:
    """The log of one run, open for writing. Use from one thread; close when done.

    Raises:
        CaiError: the file is damaged, no log of votes, of a newer version, or cannot be written to.
    """

    def __init__(self, path: Path):
        self.path = path
        with _explained(path):
            self._db = _connect(path, create=True)
            if not _version(self._db, path):
                self._write([(statement, ()) for statement in _SCHEMA])
            self._standing: dict[str, Vote] = {}
            self._of: dict[str, dict[str, Vote]] = {}
            for vote in map(_vote, self._db.execute(_STANDING)):
                self._keep(vote)

    @property
    def standing(self) -> Sequence[Vote]:
        """Votes that were not taken back, skips included, in the order of casting."""
        return tuple(self._standing.values())

    def of(self, annotator: str) -> Sequence[Vote]:
        """Those of one annotator."""
        return tuple(self._of.get(annotator, {}).values())

    def get(self, uuid: str) -> Vote | None:
        """The vote, if it stands."""
        return self._standing.get(uuid)

    def author(self, uuid: str) -> str | None:
        """Whose row has this id, be it a vote that stands or not, or the taking back of one."""
        row = self._db.execute("SELECT annotator FROM log WHERE uuid = ?", (uuid,)).fetchone()
        return None if row is None else str(row[0])

    def cast(self, vote: Vote, comparison: Comparison) -> None:
        """Store a vote on ``comparison``; it is on the disk when this returns."""
        content = json.dumps(tables.comparison_row(comparison))  # ASCII: lone surrogates survive
        marks = ", ".join("?" * (1 + len(fields(Vote))))
        self._write(
            [
                ("INSERT OR IGNORE INTO pairs VALUES (?, ?)", (vote.pair, content)),
                (f"INSERT INTO log (time, {_COLUMNS}) VALUES ({marks})", (time.time(), *astuple(vote))),
            ]
        )
        self._keep(vote)

    def take_back(self, annotator: str, votes: dict[str, str]) -> None:
        """Take standing votes back, all or none. ``votes``: id of the new row → id of the vote."""
        insert = "INSERT INTO log (time, uuid, annotator, takes_back) VALUES (?, ?, ?, ?)"
        self._write([(insert, (time.time(), uuid, annotator, vote)) for uuid, vote in votes.items()])
        for vote in votes.values():
            del self._of[self._standing.pop(vote).annotator][vote]

    def _keep(self, vote: Vote) -> None:
        self._standing[vote.uuid] = self._of.setdefault(vote.annotator, {})[vote.uuid] = vote

    def recall(self, name: str) -> str | None:
        """What ``note`` kept under ``name``."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, name: str, value: str) -> None:
        """Keep a fact about this log that is no vote."""
        self._write([("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))])

    def close(self) -> None:
        self._db.close()

    def _write(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        """Run ``statements`` in one transaction, synced to the disk at its end.

        Raises:
            CaiError: nothing of it was stored.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._db.execute(statement, values)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise CaiError(f"{self.path}: not stored ({error}); is the disk full or read-only?") from error


def _connect(path: Path, create: bool = False) -> sqlite3.Connection:
    mode = "rwc" if create else "rw"
    if create:
        _keep_private(path)
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=10)
    if create:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
    return db


def _keep_private(path: Path) -> None:
    """Who voted what is nobody's business: made so before the first byte, SQLite's files beside it as well.

    SQLite gives the files that it makes beside a database the database's own permissions.
    """
    with suppress(OSError):  # a place that cannot be written to is told by SQLite
        make_private(path)
        for beside in ("-wal", "-shm"):
            if (name := path.with_name(path.name + beside)).exists():
                make_private(name)


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The version of a log; 0 when the file is empty."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables_there,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if application == 0 and tables_there == 0:
        return 0
    if application != _APPLICATION:
        raise CaiError(f"{path}: a database, but not of votes; move it away")
    if version > VERSION:
        raise CaiError(
            f"{path}: written by a newer cai (version {version} of the log, this one knows {VERSION}); "
            "update cai"
        )
    return int(version)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
        raise CaiError(
            f"{path}: cannot be read as a log of votes ({error}); move it and its -wal file away "
            "together, so that what is in them can be saved"
        ) from error


def _vote(row: tuple[object, ...]) -> Vote:
    values = dict(zip((field.name for field in fields(Vote)), row, strict=True))
    return Vote(**cast(dict[str, str], {**values, "repeat": bool(values["repeat"])}))  # type: ignore[arg-type]


def _preference(vote: Vote, comparison: Comparison) -> Preference:
    p = vote.p
    a_first = vote.shown_first == "a"
    return Preference(
        comparison,
        p,
        Source("human", vote.annotator),
        (Judgement(vote.question_id, p if a_first else None, None if a_first else p),),
        unscored=BOTH_BAD if p is None else None,
        raw=vote.reason,
    )
