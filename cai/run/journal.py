"""Request → answer, in one SQLite file per run. It is what makes "run it again" mean "go on".

Keys are content hashes (``key``), so an answer is found again exactly when everything that shaped it
is the same, and nothing has to be invalidated by hand. Readable answers are never rewritten. Write-ahead
logging keeps every committed answer through SIGKILL; a power cut may lose the last moments. What becomes of a
damaged file: ``Journal`` and ``salvage.py``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from cai.run import pending, salvage, spending
from cai.run.mending import ASIDE
from cai.values.errors import CaiError
from cai.values.types import ChoiceRequest, CompletionRequest

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    engine TEXT NOT NULL,
    verb TEXT NOT NULL,
    request TEXT NOT NULL,
    answer TEXT NOT NULL,
    created REAL NOT NULL,
    stage TEXT NOT NULL DEFAULT '',
    seal TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID
"""
_COLUMNS = ["key", "engine", "verb", "request", "answer", "created", "stage", "seal"]
_ANNOUNCED = (
    "CREATE TABLE IF NOT EXISTS announced (engine TEXT PRIMARY KEY, said TEXT NOT NULL) WITHOUT ROWID"
)
# Keys are digests: one that is no hexadecimal number any more finds nothing, and its question is asked again.
_DAMAGED_KEYS = (
    "SELECT COUNT(*) FROM answers WHERE length(CAST(key AS BLOB)) = 64 "
    "AND (length(key) <> 64 OR key GLOB '*[^0-9a-f]*')"  # length() of a text ends at a zero byte
)
_STAGE: ContextVar[str] = ContextVar("stage", default="")


@contextmanager
def asking_for(stage: str) -> Iterator[None]:
    """Answers that are kept meanwhile, also by tasks that are started meanwhile, are booked to ``stage``.

    It says what a stage cost and is no part of a key: another stage with the same question gets the answer.
    """
    token = _STAGE.set(stage)
    try:
        yield
    finally:
        _STAGE.reset(token)


def canonical(value: object) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(*parts: object) -> str:
    """SHA-256 (hex) of the canonical JSON of ``parts``."""
    # surrogatepass: a lone surrogate in a user's text must get a key, not end the run.
    return hashlib.sha256(canonical(parts).encode("utf-8", "surrogatepass")).hexdigest()


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2^31) from (run seed, stage, item, attempt, …): equal parts, equal seed."""
    return int(digest("seed", *parts)[:8], 16) & 0x7FFFFFFF


def key(fingerprint: str, request: CompletionRequest | ChoiceRequest) -> str:
    """The journal key of ``request`` on the engine with ``fingerprint``.

    A greedy request (temperature 0) does not depend on its seed, so its key does not either. A request for
    any text has the key that it had before there were options.
    """
    fields = asdict(request)
    if isinstance(request, CompletionRequest):
        if request.sampling.temperature == 0:
            del fields["seed"]
        if not request.options:
            del fields["options"]
    return digest(fingerprint, type(request).__name__, fields)


class Journal:
    """The journal of one run folder. Use from one thread; close when done.

    A cache that cannot be read is absent. With ``say``, a damaged file is mended when that shows: its
    readable answers go into a fresh journal, the file as it was is kept beside it, ``say`` is told in one
    line. A single answer that is not what was written is not there, and replaced when it is asked again.

    Raises:
        CaiError: the file cannot be opened, or is damaged and there is no ``say``: nobody may mend it.
    """

    def __init__(self, path: Path, say: Callable[[str], None] | None = None):
        self.path = path
        self._say = say
        self._unreadable: set[str] = set()
        self._rejected = 0
        torn = list(salvage.rows(path, only_logged=True)) if say is not None else []
        try:
            self._open(check=True)
        except sqlite3.DatabaseError as error:
            self._mend(error)
        self._take_back(torn)
        if say is not None:
            self._rejected += int(self._do(_DAMAGED_KEYS)[0]) if self._odd_keys() else 0

    def get(self, key: str) -> dict[str, Any] | None:
        # As bytes: SQLite keeps texts that are no UTF-8, and Python's module stops at them.
        seal = "CAST(seal AS BLOB)" if self._sealed else "x''"
        row = self._do(f"SELECT CAST(answer AS BLOB), {seal} FROM answers WHERE key = ?", (key,))
        if row is None or key in self._unreadable:
            return None
        try:
            text = row[0].decode()
            answer: Any = json.loads(text)
            if isinstance(answer, dict) and row[1] in (b"", salvage.seal(key, text).encode()):
                return answer
        except (ValueError, RecursionError):
            pass
        self.reject(key)
        return None

    def reject(self, key: str) -> None:
        """Take the answer for absent: it is none, and the next ``put`` replaces it."""
        self._rejected += key not in self._unreadable
        self._unreadable.add(key)

    def put(
        self, key: str, engine: str, request: CompletionRequest | ChoiceRequest, answer: dict[str, Any]
    ) -> None:
        """Keep ``answer``; a readable answer that is already there stays as it is."""
        verb = "complete" if isinstance(request, CompletionRequest) else "choose"
        text = _text(answer)
        row = (key, engine, verb, _text(asdict(request)), text, time.time(), _STAGE.get())
        self._insert((*row, salvage.seal(key, text)), replace=key in self._unreadable)
        self._unreadable.discard(key)

    def announced(self, engine: str) -> dict[str, str]:
        """What ``announce`` kept of the engine with this fingerprint; nothing where nothing is readable."""
        row = self._do("SELECT said FROM announced WHERE engine = ?", (engine,))
        try:
            said = json.loads(row[0]) if row else {}
        except ValueError:
            said = {}
        return said if isinstance(said, dict) else {}

    def announce(self, engine: str, said: dict[str, str]) -> None:
        """Keep what a server says of the model whose answers are booked under this fingerprint."""
        self._do("INSERT OR REPLACE INTO announced VALUES (?, ?)", (engine, _text(said)))

    def spent(self) -> dict[str, spending.Spent]:
        """What was spent on models that are paid for, by model."""
        rows = self.rows(spending.READ)
        return {name: spending.Spent(*numbers) for name, *numbers in rows}

    def book(self, model: str, spent: spending.Spent) -> None:
        """Add to what was spent on ``model``."""
        self._do(spending.ADD, (model, *astuple(spent)))

    def has_answers_of(self, model: str) -> bool:
        """Whether any answer is that of a model of this name."""
        return self._do("SELECT 1 FROM answers WHERE engine = ? LIMIT 1", (model,)) is not None

    def __len__(self) -> int:
        return int(self._do("SELECT COUNT(*) FROM answers")[0])

    def close(self) -> None:
        n, self._rejected = self._rejected, 0
        if n and self._say is not None:
            self._say(f"{self.path}: {_answers(n)} could not be read; asked again")
        self._db.close()

    def _open(self, check: bool = False) -> None:
        """Raises sqlite3.DatabaseError where it is no journal; ``check`` looks at every page of it."""
        # isolation_level=None: every statement is its own transaction, so an answer is safe the
        # moment ``put`` returns (about 30 µs under WAL).
        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0] if check else "ok"
        if found != "ok":
            raise _DamagedError(" ".join(found.removeprefix("*** in database main ***").split()))
        self._db.execute(_SCHEMA)
        self._db.execute(_ANNOUNCED)
        for schema in (spending.SCHEMA, *pending.SCHEMA):
            self._db.execute(schema)
        columns = [row[1] for row in self._db.execute("PRAGMA table_info(answers)")]
        if columns == _COLUMNS[:6]:
            self._db.execute("ALTER TABLE answers ADD COLUMN stage TEXT NOT NULL DEFAULT ''")
        elif columns not in (_COLUMNS[:7], _COLUMNS):
            raise _DamagedError("its table has other columns")
        self._sealed = columns == _COLUMNS

    def _do(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        """The first row of what the statement gives; once more where damage has shown and been mended."""
        try:
            return self._db.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._mend(error)
        return self._db.execute(query, values).fetchone()

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Every row that the statement gives, of a table that is no table of answers."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._mend(error)
        return self._db.execute(query, values).fetchall()

    def _odd_keys(self) -> bool:
        """Whether any key holds a byte that no digest has. A third of the query's time, which tells which."""
        try:
            keys = self._db.execute("SELECT CAST(key AS BLOB) FROM answers")
            while rows := keys.fetchmany(10_000):
                if b"".join(row[0] for row in rows).translate(None, b"0123456789abcdef"):
                    return True
        except sqlite3.DatabaseError:  # the query itself meets it again, and has it mended
            return True
        return False

    def _insert(self, row: tuple[Any, ...], replace: bool = False) -> None:
        row = row if self._sealed else row[:-1]
        names, places = ", ".join(_COLUMNS[: len(row)]), ", ".join("?" * len(row))
        verb = "REPLACE" if replace else "IGNORE"
        self._do(f"INSERT OR {verb} INTO answers ({names}) VALUES ({places})", row)

    def _take_back(self, torn: Sequence[salvage.Row]) -> None:
        """Add the answers of a write-ahead log that SQLite has dropped, behind a torn frame."""
        before = self._db.total_changes
        for row in torn:
            self._insert(astuple(row))
        n = self._db.total_changes - before
        if n and self._say is not None:
            self._say(f"{self.path}-wal was torn; {_answers(n)} behind the tear are kept")

    def _mend(self, error: sqlite3.DatabaseError) -> None:
        """Start afresh with the readable answers; the file as it was is kept beside."""
        with suppress(AttributeError, sqlite3.Error):
            self._db.close()
        if not _is_damage(error) or self._say is None:
            raise CaiError(
                f"{self.path}: cannot be used as a journal ({error}); move it away and run again "
                "(its answers will be asked for again)"
            ) from error
        count, kept = mend(self.path)
        self._open()
        self._say(
            f"{self.path}: damaged ({error}); {_answers(count)} of it are kept, others are asked again "
            f"(the file as it was: {kept.name})"
        )


class _DamagedError(sqlite3.DatabaseError):
    """The file can be opened, and is not a whole journal."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, _DamagedError) or (
        code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    )


def mend(path: Path) -> tuple[int, Path]:
    """Put a journal of the readable answers in the place of a damaged one → their number, and the old file.

    A kill at any moment loses nothing: damaged files are copied before they are replaced, and the copies of
    earlier times are read as well.
    """
    earlier = sorted(one for one in path.parent.glob(f"{path.name}{ASIDE}*") if not one.name.endswith("-wal"))
    aside = path.with_name(f"{path.name}{ASIDE}{len(earlier) + 1 if earlier else ''}")
    fresh = path.with_name(f"{path.name}.fresh")
    fresh.unlink(missing_ok=True)
    with closing(sqlite3.connect(fresh)) as db:
        db.execute(_SCHEMA)
        _carry(path, db)
        for source in (path, *earlier):
            places = ", ".join("?" * len(_COLUMNS))
            db.executemany(
                f"INSERT OR IGNORE INTO answers VALUES ({places})", map(astuple, salvage.rows(source))
            )
        db.commit()
        count = int(db.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
    log = Path(f"{path}-wal")
    if log.exists():
        shutil.copy2(log, f"{aside}-wal")
    shutil.copy2(path, aside)
    # The old log must never meet the new file.
    log.unlink(missing_ok=True)
    Path(f"{path}-shm").unlink(missing_ok=True)
    fresh.replace(path)
    return count, aside


def _carry(damaged: Path, fresh: sqlite3.Connection) -> None:
    """Take along what was spent, what is pending and what servers announced, as far as it can be read."""
    tables = zip(pending.SCHEMA, pending.TABLES, strict=True)
    for schema, table in ((spending.SCHEMA, "spending"), (_ANNOUNCED, "announced"), *tables):
        fresh.execute(schema)
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(damaged)) as old:
            for row in old.execute(f"SELECT * FROM {table}"):
                fresh.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def _answers(n: int) -> str:
    return f"{n:,} answer{'' if n == 1 else 's'}"


def _text(value: dict[str, Any]) -> str:
    # SQLite stores UTF-8 only; escaping keeps lone surrogates representable.
    return json.dumps(value, ensure_ascii=True, allow_nan=False)
