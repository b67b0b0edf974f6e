"""What was spent on models that are paid for, by model: a table of the run's journal.

Sums, one row a model: a price that changes between two commands changes what is paid from then on alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from cai.run.peek import peek

SCHEMA = """
CREATE TABLE IF NOT EXISTS spending (
    model TEXT PRIMARY KEY, requests INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, usd REAL,
    unpriced INTEGER
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """``unpriced``: requests whose price was not known, which are in the tokens and not in ``usd``."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


_NAMES = [field.name for field in fields(Spent)]
READ = f"SELECT model, {', '.join(_NAMES)} FROM spending"
ADD = f"INSERT INTO spending VALUES (?{', ?' * len(_NAMES)}) ON CONFLICT (model) DO UPDATE SET " + ", ".join(
    f"{name} = {name} + excluded.{name}" for name in _NAMES
)


def read(journal: Path) -> dict[str, Spent]:
    """By model, of a journal that nobody holds open for it; empty where there is none to be read."""
    return {name: Spent(*numbers) for name, *numbers in peek(journal, READ)}


def total(parts: Iterable[Spent]) -> Spent:
    return Spent(*map(sum, zip(*(astuple(part) for part in (Spent(), *parts)), strict=True)))


def told(by_model: dict[str, Spent]) -> list[str]:
    """One line a model."""
    lines = []
    for name, spent in sorted(by_model.items()):
        known = spent.requests - spent.unpriced
        paid = (
            f"{spent.usd:,.{2 if spent.usd >= 1 else 4}f} US dollars" if known else "its price is not known"
        )
        rest = f" ({spent.unpriced:,} requests without a known price)" if known and spent.unpriced else ""
        lines.append(
            f"  {name:<30}{spent.requests:>9,} requests, {spent.prompt_tokens:,} tokens read and "
            f"{spent.completion_tokens:,} written: {paid}{rest}"
        )
    return lines
