"""The plots of evaluation figures. Each takes plain numbers and gives a ``Figure``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cai.report.blocks import Cell, Figure, Table, listed, number, score_cell
from cai.report.plots import curves
from cai.report.plots.marks import legend, model_styles, point, style
from cai.report.plots.svg import draw
from cai.report.sections.outcomes import Row
from cai.report.wording import model_name, name_of
from cai.values.types import Score


def before_after(rows: Sequence[Row], models: Sequence[str]) -> Figure | None:
    """Every share of every model with its interval, one group of marks per figure."""
    shares = [row for row in rows if all(s.low >= 0 and s.high <= 1 for s in row.scores.values())]
    if not shares:
        return None
    shown = [model for model in models if any(model in row.scores for row in shares)]
    looks = model_styles(shown)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for line, row in enumerate(shares):
            axes.text(0, line - 0.34, name_of(row.metric), va="center", ha="left", fontsize=11.5)
            for place, model in enumerate(shown):
                if model in row.scores:
                    at = line - 0.1 + place * 0.4 / max(1, len(shown) - 1)
                    point(axes, (row.scores[model].value, at), looks[model], x=row.scores[model])
        axes.set_ylim(len(shares) - 0.5, -0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        legend(figure, [(model_name(model), looks[model]) for model in shown])

    lines = [(Cell(name_of(row.metric)), *(score_cell(row.scores.get(m)) for m in shown)) for row in shares]
    told = [
        f"{name_of(row.metric)}: "
        + ", ".join(f"{model_name(m)} {number(row.scores[m].value)}" for m in shown if m in row.scores)
        for row in shares
    ]
    return Figure(
        id="before-after",
        title="Before and after",
        text="Shares of the answers, with 95\u00a0% intervals.",
        svg=draw("before-after", 56 + 58 * len(shares), paint),
        table=Table("The numbers of the plot", ("", *map(model_name, shown)), tuple(lines)),
        alt=f"Shares by model. {'; '.join(told)}.",
    )


def frontier(x: Row, y: Row, models: Sequence[str]) -> Figure | None:
    """Two figures against each other, one point per model."""
    shown = [m for m in models if m in x.scores and m in y.scores]
    if len(shown) < 2:
        return None
    looks = model_styles(shown)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for model in shown:
            one, other = x.scores[model], y.scores[model]
            point(axes, (one.value, other.value), looks[model], one, other)
        axes.set_xlabel(name_of(x.metric))
        axes.set_ylabel(name_of(y.metric))
        axes.margins(0.06)
        legend(figure, [(model_name(model), looks[model]) for model in shown])

    rows = [(Cell(model_name(m)), score_cell(x.scores[m]), score_cell(y.scores[m])) for m in shown]
    told = [f"{model_name(m)} {number(x.scores[m].value)} and {number(y.scores[m].value)}" for m in shown]
    return Figure(
        id="frontier",
        title=f"{name_of(x.metric).capitalize()} against {name_of(y.metric)}",
        text="One point per model, with both 95\u00a0% intervals.",
        svg=draw("frontier", 290, paint),
        table=Table("The numbers of the plot", ("", name_of(x.metric), name_of(y.metric)), tuple(rows)),
        alt=f"One point per model: {'; '.join(told)}.",
    )


def rounds(found: dict[tuple[str, str], dict[int, Score]], name: str, title: str, word: str) -> Figure | None:
    """Shares after each round of training, or of revision; ``word`` is what is counted."""
    shares = {key: row for key, row in found.items() if all(s.low >= 0 and s.high <= 1 for s in row.values())}
    if not shares:
        return None
    looks = {key: style(place) for place, key in enumerate(shares)}

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for place, (key, row) in enumerate(shares.items()):
            shift = (place - (len(shares) - 1) / 2) * 0.05
            x = [number + shift for number in row]
            axes.plot(x, [s.value for s in row.values()], color=looks[key].colour, linewidth=1)
            for at, score in zip(x, row.values(), strict=True):
                point(axes, (at, score.value), looks[key], None, score)
        axes.set_xlabel(word)
        axes.set_xticks(sorted({number for row in shares.values() for number in row}))
        axes.set_ylim(-0.02, 1.02)
        legend(figure, [(name_of(metric), looks[suite, metric]) for suite, metric in shares])

    told = [
        f"{name_of(m)} {', '.join(number(s.value) for s in row.values())}" for (_, m), row in shares.items()
    ]
    return Figure(
        id=name,
        title=title,
        text="Shares of the answers, with 95\u00a0% intervals.",
        svg=draw(name, 330, paint),
        table=curves.rounds_table(shares, title, word),
        alt=f"{title}: {listed(told)}.",
    )
