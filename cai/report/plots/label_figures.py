"""The plots of the preference labels: how sure, how steady under the order of showing, how right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from cai.report.blocks import Cell, Figure, Table, cells, score_cell
from cai.report.plots.marks import DASHES, legend, point, style
from cai.report.plots.svg import INK, LINE, SOFT, draw
from cai.report.sections import labels
from cai.values.types import Judgement, Preference, Score

MOST_POINTS = 800  # of a scatter


def histogram(preferences: Sequence[Preference]) -> Figure:
    counts = labels.histogram(preferences)
    width = 1 / len(counts)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        starts = [place * width for place in range(len(counts))]
        axes.bar(starts, counts, width * 0.86, align="edge", color=style(3).colour)
        axes.axvline(0.5, color=INK, linewidth=1, linestyle=DASHES)
        axes.set_xlabel("P(a preferred to b), mean of both orders")
        axes.set_ylabel("pairs")
        axes.set_xlim(0, 1)

    rows = [(Cell(f"{i * width:.2f} to {(i + 1) * width:.2f}"), *cells(n)) for i, n in enumerate(counts)]
    near = sum(counts[len(counts) // 2 - 2 : len(counts) // 2 + 2])
    return Figure(
        id="labels",
        title="How sure the labels are",
        text=f"{near:,} of {sum(counts):,} labels lie between 0.4 and 0.6, that is close to a tie.",
        svg=draw("labels", 330, paint),
        table=Table("Pairs by label", ("P(a preferred)", "pairs"), tuple(rows)),
    )


def orders(judgements: Sequence[Judgement]) -> Figure:
    """P(a) with a shown first against P(a) with b shown first."""
    shown = list(judgements)
    if len(shown) > MOST_POINTS:
        shown = random.Random(0).sample(shown, MOST_POINTS)
    looks = {False: style(3), True: style(1)}  # by whether the order decided

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=DASHES)
        axes.axhline(0.5, color=LINE, linewidth=1)
        axes.axvline(0.5, color=LINE, linewidth=1)
        for flipped, look in looks.items():
            x = [j.p_a_first for j in shown if bool(j.flipped) is flipped]
            y = [j.p_b_first for j in shown if bool(j.flipped) is flipped]
            axes.plot(x, y, look.marker, color=look.colour, markersize=3.2, alpha=0.5, markeredgewidth=0)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("P(a), a shown first")
        axes.set_ylabel("P(a), b shown first")
        legend(
            figure, [("same preference in both orders", looks[False]), ("flips with the order", looks[True])]
        )

    flipped = sum(1 for judgement in judgements if judgement.flipped)
    capped = f" {MOST_POINTS} of them are drawn." if len(judgements) > MOST_POINTS else ""
    return Figure(
        id="orders",
        title="The same pair, shown in both orders",
        text=(
            f"{flipped:,} of {len(judgements):,} judgements flip with the order of showing.{capped} On the "
            "dashed line the order makes no difference; at the upper left and the lower right it decides."
        ),
        svg=draw("orders", 330, paint),
        table=labels.order_table(judgements),
    )


def calibration(rows: Sequence[dict[str, Any]]) -> Figure:
    """data/reliability.parquet: what the AI labels say against what people say."""
    points = [
        (float(r["ai"]), Score(float(r["human"]), float(r["low"]), float(r["high"]), int(r["n"])))
        for r in rows
    ]

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([0.5, 1], [0.5, 1], color=SOFT, linewidth=1, linestyle=DASHES)
        for ai, human in points:
            point(axes, (ai, human.value), style(3), None, human)
        axes.set_xlim(0.48, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("P of the response that the AI prefers")
        axes.set_ylabel("share of people who agree")

    lines = [
        (*cells(ai), score_cell(human), *cells(int(row["pairs"])))
        for (ai, human), row in zip(points, rows, strict=True)
    ]
    outside = sum(not human.low <= ai <= human.high for ai, human in points)
    return Figure(
        id="calibration",
        title="AI labels against people",
        text=(
            "On the dashed line the labels mean what they say; below it they are too sure. "
            f"{outside} of {len(points)} points lie off it by more than their 95\u00a0% interval."
        ),
        svg=draw("calibration", 330, paint),
        table=Table("The numbers of the plot", ("AI says", "people agree", "pairs"), tuple(lines)),
    )
