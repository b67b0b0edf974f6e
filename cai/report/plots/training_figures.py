"""The plots of a training: its curves, and rewards against √KL."""

from __future__ import annotations

import math
from typing import Any

from cai.report.blocks import Figure, listed, number
from cai.report.plots import curves
from cai.report.plots.marks import Style, legend, point, style
from cai.report.plots.svg import draw

Series = dict[str, list[curves.Point]]
MANY = 12  # points of one method; more of them are drawn faintly, with the means of successive ones
TOGETHER = 5


def over_optimisation(found: dict[str, Series]) -> list[Figure]:
    """A plot for the proxy and one for gold, the methods in the same colours."""
    methods = sorted({method for series in found.values() for method in series})
    looks = {method: style(place) for place, method in enumerate(methods)}
    titles = {"proxy": "Proxy: the reward that was maximised", "gold": "Gold: what nothing trained on"}
    made = []
    for kind, series in found.items():
        many = any(len(points) > MANY for points in series.values())
        text = "Each mark is a step's mean with its 95\u00a0% interval."
        if many:
            text = (
                f"Faint marks are single steps, strong ones the means of {TOGETHER} successive steps; the "
                "intervals of the steps are in the numbers."
            )
        told = [
            f"{method} from {number(p[0].score.value)} at √KL {number(p[0].root_kl)} to "
            f"{number(p[-1].score.value)} at {number(p[-1].root_kl)}"
            for method, p in series.items()
        ]
        figure = Figure(
            id=f"over-{kind}",
            title=titles[kind],
            text=text,
            svg=_rewards(f"over-{kind}", series, looks),
            table=curves.over_table({kind: series}),
            alt=f"Mean reward by method, first and last step: {listed(told)}.",
        )
        made.append(figure)
    return made


def _rewards(name: str, series: Series, looks: dict[str, Style]) -> str:
    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for method, points in series.items():
            look = looks[method]
            if len(points) <= MANY:
                for p in points:
                    point(axes, (p.root_kl, p.score.value), look, None, p.score)
                continue
            x, y = [p.root_kl for p in points], [p.score.value for p in points]
            axes.plot(x, y, look.marker, color=look.colour, markersize=3, alpha=0.3, markeredgewidth=0)
            axes.plot(
                _means(x), _means(y), f"-{look.marker}", color=look.colour, markersize=5, markeredgewidth=0
            )
        axes.set_xlabel("√KL from the model at the start, √nats")
        axes.set_ylabel("mean reward")
        legend(figure, [(method, looks[method]) for method in series])

    return draw(name, 310, paint)


def _means(values: list[float]) -> list[float]:
    groups = [values[start : start + TOGETHER] for start in range(0, len(values), TOGETHER)]
    return [sum(group) / len(group) for group in groups]


def training(checkpoint: str, found: dict[str, curves.Curve]) -> Figure:
    """Up to four curves of a training as small multiples."""
    names = list(found)
    lines = math.ceil(len(names) / 2)

    def paint(figure: Any) -> None:
        for place, name in enumerate(names, 1):
            axes = figure.add_subplot(lines, min(2, len(names)), place)
            steps, values = zip(*found[name], strict=True)
            axes.plot(steps, values, color=style(3).colour, linewidth=1.1)
            axes.set_title(curves.words(name))
            axes.locator_params(nbins=4)

    told = [f"{curves.words(name)} from {number(c[0][1])} to {number(c[-1][1])}" for name, c in found.items()]
    last = max(curve[-1][0] for curve in found.values())
    return Figure(
        id=f"training-{checkpoint}",
        title=f"checkpoints/{checkpoint}",
        text=f"One value for each of {last:,} updates, without intervals.",
        svg=draw(f"training-{checkpoint}", max(170, 40 + 125 * lines), paint),
        table=curves.curve_table(checkpoint, found),
        alt=f"{last:,} updates: {listed(told)}.",
    )
