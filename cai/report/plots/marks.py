"""What the plots have in common: a mark with its intervals, a style for every series, a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cai.report.plots.svg import MARKERS, SERIES
from cai.values.types import Score

DASHES = (0, (3, 3))
_PLACES = {"base": 0, "sft": 1, "best-of-n": 2, "policy": 3}


class Style(NamedTuple):
    """Series differ in shape as well as in colour."""

    colour: str
    marker: str


def style(place: int) -> Style:
    return Style(SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)])


def model_styles(models: Sequence[str]) -> dict[str, Style]:
    """The models of a run look the same in every plot; others take what is left."""
    others = [model for model in models if model not in _PLACES]
    return {m: style(_PLACES.get(m, 4 + others.index(m) if m in others else 0)) for m in models}


def point(
    axes: Any, at: tuple[float, float], look: Style, x: Score | None = None, y: Score | None = None
) -> None:
    """A mark at (x, y) with its intervals across and along."""
    if x is not None:
        axes.plot([x.low, x.high], [at[1], at[1]], color=look.colour, linewidth=1.4, solid_capstyle="round")
    if y is not None:
        axes.plot([at[0], at[0]], [y.low, y.high], color=look.colour, linewidth=1.4, solid_capstyle="round")
    axes.plot([at[0]], [at[1]], look.marker, color=look.colour, markersize=5.5, markeredgewidth=0)


def legend(figure: Any, entries: Sequence[tuple[str, Style]]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", markersize=5.5, markeredgewidth=0)
        for _, look in entries
    ]
    short = sum(len(label) + 5 for label, _ in entries) < 56
    figure.legend(
        marks,
        [label for label, _ in entries],
        loc="outside upper left",
        ncols=len(entries) if short else min(2, len(entries)),
        handletextpad=0.2,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
