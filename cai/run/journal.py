"""Request → answer, in one SQLite file per run. It is what makes "run it again" mean "go on".

Keys are content hashes (``key``), so an answer is found again exactly when everything that shaped it
is the same, and nothing has to be invalidated by hand. Answers are never rewritten. Write-ahead
logging keeps every committed answer through SIGKILL; a power cut may lose the last moments.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    stage TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID
"""
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

    A greedy request (temperature 0) does not depend on its seed, so its key does not either.
    """
    fields = asdict(request)
    if isinstance(request, CompletionRequest) and request.sampling.temperature == 0:
        del fields["seed"]
    return digest(fingerprint, type(request).__name__, fields)


class Journal:
    """The journal of one run folder. Use from one thread; close when done.

    Raises:
        CaiError: the file is not a journal or is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            # isolation_level=None: every statement is its own transaction, so an answer is safe the
            # moment ``put`` returns (about 30 µs under WAL).
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_SCHEMA)
            if "stage" not in {row[1] for row in self._db.execute("PRAGMA table_info(answers)")}:
                self._db.execute("ALTER TABLE answers ADD COLUMN stage TEXT NOT NULL DEFAULT ''")
        except sqlite3.DatabaseError as error:
            raise CaiError(
                f"{path}: cannot be used as a journal ({error}); move it away and run again "
                "(its answers will be asked for again)"
            ) from error

    def get(self, key: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(
        self, key: str, engine: str, request: CompletionRequest | ChoiceRequest, answer: dict[str, Any]
    ) -> None:
        """Keep ``answer``; an answer that is already there stays as it is."""
        verb = "complete" if isinstance(request, CompletionRequest) else "choose"
        self._db.execute(
            "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, engine, verb, _text(asdict(request)), _text(answer), time.time(), _STAGE.get()),
        )

    def __len__(self) -> int:
        count = self._db.execute("SELECT COUNT(*) FROM answers").fetchone()
        return int(count[0])

    def close(self) -> None:
        self._db.close()


def _text(value: dict[str, Any]) -> str:
    # SQLite stores UTF-8 only; escaping keeps lone surrogates representable.
    return json.dumps(value, ensure_ascii=True, allow_nan=False)
