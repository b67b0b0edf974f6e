"""Proxy and gold reward against √KL: does what is optimised still mean what is wanted? Gao et al. 2022.

The proxy is the reward that training maximised; gold is what nothing trained on: the pocket world's oracle,
or a second, held-out reward. Where the proxy goes on rising and gold turns down, the policy has learned to
please the proxy (arXiv 2210.10760, §3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cai.statistics.intervals import interval
from cai.values.types import Score


@dataclass(frozen=True, slots=True)
class Point:
    """One step of one method: ``kl`` in nats per response, from the model that training started with.

    ``kl_spread`` is the estimate with its interval, where its spread is known. ``bound``: no estimate, but
    what the KL is at most by analysis (best-of-n).
    """

    method: str
    step: int
    kl: float
    proxy: Score | None
    gold: Score | None
    kl_spread: Score | None = None
    bound: bool = False

    @property
    def root_kl(self) -> float:
        """√KL; an estimate of KL may fall a little below 0."""
        return math.sqrt(max(0.0, self.kl))


def point(
    method: str, step: int, kl: float, proxy: Sequence[float], gold: Sequence[float] | None
) -> Point | None:
    """A point from the rewards of a step's responses; None where too few have one to know a spread."""
    mean = interval(proxy)
    return None if mean is None else Point(method, step, kl, mean, interval(gold) if gold else None)


def row(p: Point) -> dict[str, object]:
    """A row of data/overoptimisation.parquet; null where a figure or its spread is not known."""

    def columns(name: str, score: Score | None, *parts: str) -> dict[str, float | None]:
        return {f"{name}_{part}": None if score is None else float(getattr(score, part)) for part in parts}

    parts = ("value", "low", "high", "n")
    return {
        "method": p.method,
        "step": p.step,
        "kl": p.kl,
        "root_kl": p.root_kl,
        "kl_is": "bound" if p.bound else "estimate",
        **columns("kl", p.kl_spread, "low", "high", "n"),
        **columns("proxy", p.proxy, *parts),
        **columns("gold", p.gold, *parts),
    }


def turned_down(points: Sequence[Point]) -> Point | None:
    """The first step whose gold lies significantly below the best so far; None where it never does.

    Significant: the two 95 % intervals do not meet.
    """
    best: Score | None = None
    for p in sorted(points, key=lambda p: p.step):
        if p.gold is None:
            continue
        if best is not None and p.gold.high < best.low:
            return p
        if best is None or p.gold.value > best.value:
            best = p.gold
    return None
