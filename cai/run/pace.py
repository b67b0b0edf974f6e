"""How fast the answers of a run came, by what asked for them: from the times in its journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

PAUSE = 120.0  # seconds without an answer: the run was not running then
FEW = 20  # answers; fewer say nothing of a pace


@dataclass(frozen=True, slots=True)
class Pace:
    """``answers`` kept, and the seconds over which they came, pauses left out."""

    answers: int
    seconds: float

    def seconds_for(self, more: int) -> float | None:
        """None where there were too few answers to tell."""
        return more * self.seconds / self.answers if self.answers >= FEW and self.seconds > 0 else None


def paces(journal: Path) -> Mapping[str, Pace]:
    """By stage; empty where there is no readable journal. Nothing is written, nothing mended."""
    if not journal.exists():
        return {}
    query = """
        SELECT stage, COUNT(*), SUM(CASE WHEN gap <= ? THEN gap ELSE 0 END) FROM
        (SELECT stage, created - LAG(created) OVER (PARTITION BY stage ORDER BY created) AS gap FROM answers)
        GROUP BY stage
    """
    try:
        with closing(sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(query, (PAUSE,)).fetchall()
    except sqlite3.Error:
        return {}
    return {stage: Pace(count, float(seconds or 0.0)) for stage, count, seconds in rows}
