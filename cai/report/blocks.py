"""What a section of the report is made of. Plain values; ``page.html`` turns them into markup.

Strings in them are text, never markup: the template escapes them. ``Figure.svg`` alone is markup, made by
``svg.py`` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from cai.values.types import Score

Tone = Literal["", "better", "worse", "changed", "unclear", "warn"]


@dataclass(frozen=True, slots=True)
class Cell:
    """``text`` with a smaller ``note`` under it, which may have lines; ``bar`` in [0, 1] draws one."""

    text: str
    note: str = ""
    tone: Tone = ""
    number: bool = False
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Every row starts with its header. Rows with fewer cells than columns leave the rest empty."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its title, what it says, its numbers, and the text alternative (else what it says)."""

    id: str
    title: str
    text: str
    svg: str
    table: Table
    alt: str = ""
    kind: Literal["figure"] = "figure"


@dataclass(frozen=True, slots=True)
class Preformatted:
    """A text file as it stands, folded away."""

    title: str
    text: str
    kind: Literal["text"] = "text"


Block = Table | Figure | Preformatted


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    lead: tuple[str, ...]
    blocks: tuple[Block, ...] = field(default=())


def number(value: float) -> str:
    """Three decimals for shares, fewer for what is large; a proper minus sign."""
    size = abs(value)
    if size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 100:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}" if size >= 10 else f"{value:.3f}"
    zero = text.lstrip("-").strip("0.,") == ""
    return text.lstrip("-") if zero else text.replace("-", "−")


def signed(value: float) -> str:
    text = number(value)
    return text if value <= 0 or text.strip("0.,") == "" else f"+{text}"


def between(score: Score, plus: bool = False) -> str:
    show = signed if plus else number
    return f"[{show(score.low)},\u00a0{show(score.high)}]"


def count(value: float) -> str:
    return f"{round(value):,}"


def score_cell(score: Score | None, tone: Tone = "", with_n: bool = True) -> Cell:
    """Value, interval, n; a dash where there is none."""
    if score is None:
        return Cell("–", number=True)
    n = f"\nn = {score.n:,}" if with_n else ""
    return Cell(number(score.value), f"{between(score)}{n}", tone, number=True)


def count_cell(value: float, most: float | None = None) -> Cell:
    return Cell(count(value), number=True, bar=value / most if most else None)


def cells(*texts: object) -> tuple[Cell, ...]:
    """A row of texts; ints and floats are set as numbers."""
    return tuple(_cell(text) for text in texts)


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell("–", number=True)
    if isinstance(value, int) and not isinstance(value, bool):
        return Cell(f"{value:,}", number=True)
    return Cell(number(value), number=True) if isinstance(value, float) else Cell(str(value))


def listed(words: Sequence[str]) -> str:
    """``a, b and c``; with semicolons where a part holds a comma of its own."""
    if len(words) < 2:
        return "".join(words)
    comma = "; " if any(", " in word for word in words) else ", "
    return f"{comma.join(words[:-1])}{comma.rstrip() if comma == '; ' else ''} and {words[-1]}"
