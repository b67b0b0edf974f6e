"""What a training reports while it runs and when it is done. Standard library only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cai.values.errors import CaiError
from cai.values.types import Failure

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after every update with (step, total steps, figures of this update)."""

Say = Callable[[str], None]
"""Told in one line what the user has to know, such as a damaged checkpoint."""


def to_stderr(text: str) -> None:
    """``Say`` where the caller gave none: what is wrong with a checkpoint is never passed over in silence."""
    print(text, file=sys.stderr, flush=True)


class TrainingStopped(CaiError):
    """``should_stop`` asked for it; a checkpoint is saved and the same call goes on from there."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class Spent:
    """What a training has cost: real (not padding) tokens and seconds. What a kill undid is not counted."""

    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.tokens + other.tokens, self.seconds + other.seconds)


NOTHING = Spent()

GUARD = "stopped_by_"  # in the last update of a training that a guard has ended


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of every update, who may ask for a stop after one, and who hears of what is damaged."""

    progress: Progress | None = None
    should_stop: Callable[[], bool] | None = None
    say: Say = to_stderr


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished training.

    ``path`` holds whole weights (a LoRA adapter merged in) that ``from_pretrained`` and vLLM load;
    ``adapter`` the adapter alone, where there is one. ``history`` has one entry per update.
    ``failures`` are rows that were quarantined, ``left_out`` counts rows that were dropped by rule.
    ``reused`` says that nothing was trained because ``path`` already held this very training.
    """

    path: Path
    steps: int
    rows: int
    tokens: int
    seconds: float
    history: tuple[dict[str, float], ...] = ()
    failures: tuple[Failure, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    adapter: Path | None = None
    reused: bool = False

    @property
    def tokens_per_second(self) -> float:
        """Real (not padding) tokens per second, over all processes that took turns."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def recent(self) -> tuple[dict[str, float], ...]:
        """The last tenth of the updates, at least two where there are two: what a report averages."""
        return self.history[-max(2, len(self.history) // 10) :]

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of every figure over the recent updates that have it."""
        values = {key: [entry[key] for entry in self.recent if key in entry] for key in self._names()}
        return {key: sum(found) / len(found) for key, found in values.items()}

    @property
    def guard(self) -> str | None:
        """The guard that ended the training early, such as "max_kl"; its last update names it."""
        last = self.history[-1] if self.history else {}
        return next((key.removeprefix(GUARD) for key in last if key.startswith(GUARD)), None)

    def _names(self) -> list[str]:
        """What the last updates report, in order, but for the guard's mark."""
        seen = dict.fromkeys(key for entry in self.recent for key in entry)
        return [key for key in seen if not key.startswith(GUARD)]

    def to_json(self) -> dict[str, Any]:
        """The result without its paths, which depend on where the run folder lies."""
        return {
            "steps": self.steps,
            "rows": self.rows,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "history": list(self.history),
            "failures": [asdict(failure) for failure in self.failures],
            "left_out": dict(self.left_out),
        }

    @classmethod
    def from_json(cls, path: Path, data: Mapping[str, Any]) -> TrainResult:
        """The result that ``to_json`` wrote into the finished folder ``path``.

        Raises:
            KeyError, TypeError, ValueError: it is not what ``to_json`` writes.
        """
        adapter = path / "adapter"
        return cls(
            path=path,
            steps=data["steps"],
            rows=data["rows"],
            tokens=data["tokens"],
            seconds=data["seconds"],
            history=checked_history(data["history"]),
            failures=tuple(Failure(**failure) for failure in data["failures"]),
            left_out=data["left_out"],
            adapter=adapter if adapter.is_dir() else None,
            reused=True,
        )


def checked_history(found: Any) -> tuple[dict[str, float], ...]:
    """The figures of every update, as a record on disk holds them. Raises ValueError where they are not."""
    whole = isinstance(found, list) and all(
        isinstance(figures, dict) and all(isinstance(value, int | float) for value in figures.values())
        for figures in found
    )
    if not whole:
        raise ValueError("not a list of figures")
    return tuple(found)
