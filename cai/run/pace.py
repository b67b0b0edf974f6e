"""How fast a run's answers came and how long their thoughts were, by what asked: read off its journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cai.run.peek import peek

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
    query = """
        SELECT stage, COUNT(*), SUM(CASE WHEN gap <= ? THEN gap ELSE 0 END) FROM
        (SELECT stage, created - LAG(created) OVER (PARTITION BY stage ORDER BY created) AS gap FROM answers)
        GROUP BY stage
    """
    rows = peek(journal, query, (PAUSE,))
    return {stage: Pace(count, float(seconds or 0.0)) for stage, count, seconds in rows}


def thoughts(journal: Path) -> Mapping[str, float]:
    """Tokens of thought in a completion, on average, by stage; empty where there is no readable journal."""
    query = """
        SELECT stage, AVG(COALESCE(json_extract(answer, '$.thought_tokens'), 0)) FROM answers
        WHERE verb = 'complete' AND json_valid(answer) GROUP BY stage
    """
    return {stage: float(mean or 0.0) for stage, mean in peek(journal, query)}
