"""Proxy and gold reward against √KL: does what is optimised still mean what is wanted? Gao et al. 2022.

The proxy is the reward that training maximised; gold is what nothing trained on: the pocket world's oracle,
or a second, held-out reward. Where the proxy goes on rising and gold turns down, the policy has learned to
please the proxy (arXiv 2210.10760, §3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import pstdev

from cai.statistics.change_point import lasting_fall
from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.values.types import Score

_NORMAL = 1.959964  # half-widths of a 95 % interval to standard errors


@dataclass(frozen=True, slots=True)
class Point:
    """One step of one method: ``kl`` in nats per response, from the model that training started with.

    ``kl_spread`` is the estimate with its interval, where its spread is known. ``bound``: no estimate, but
    what the KL is at most by analysis (best-of-n). ``gold_deviation``: of one response's gold.
    """

    method: str
    step: int
    kl: float
    proxy: Score | None
    gold: Score | None
    kl_spread: Score | None = None
    bound: bool = False
    gold_deviation: float | None = None

    @property
    def root_kl(self) -> float:
        """√KL; an estimate of KL may fall a little below 0."""
        return math.sqrt(max(0.0, self.kl))


@dataclass(frozen=True, slots=True)
class Rated:
    """One response's rewards, or one prompt's in expectation over its responses."""

    prompt_id: str
    proxy: float
    gold: float | None


@dataclass(frozen=True, slots=True)
class Turn:
    """Gold of the steps ``best`` to ``step`` - 1 lies by ``fall`` above that of ``step`` and all after it."""

    step: int
    best: int
    fall: float


def point(method: str, step: int, kl: float, rated: Sequence[Rated]) -> Point | None:
    """A point from the rewards of a step's responses; None where too few have one to know a spread.

    The unit of the intervals is the prompt: GRPO's and RLOO's responses to one prompt are alike.
    """
    proxy = clustered_mean([r.proxy for r in rated], [r.prompt_id for r in rated])
    if proxy is None:
        return None
    known = [(r.prompt_id, r.gold) for r in rated if r.gold is not None]
    values = [gold for _, gold in known]
    gold = gold_of(values, [prompt_id for prompt_id, _ in known])
    return Point(method, step, kl, proxy, gold, gold_deviation=pstdev(values) if values else None)


def gold_of(gold: Sequence[float], prompts: Sequence[str]) -> Score | None:
    """Mean gold between prompts; of verdicts (0 or 1) a share, whose interval is never empty."""
    if all(value in {0.0, 1.0} for value in gold):
        return clustered_proportion([value == 1.0 for value in gold], prompts)
    return clustered_mean(gold, prompts)


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
        "gold_deviation": p.gold_deviation,
    }


def turned_down(points: Sequence[Point]) -> Turn | None:
    """Where gold begins a fall that lasts to the end, if it does beyond chance.

    Of trainings whose gold never falls at most one in twenty is said to turn down, however many steps it has
    (``statistics/change_point.py``; ``python -m benchmarks.false_alarms`` shows it for every method's shape).
    """
    known = sorted((p for p in points if p.gold is not None), key=lambda p: p.step)
    gold = [p.gold for p in known if p.gold is not None]
    change = lasting_fall([g.value for g in gold], [_deviation(g) for g in gold])
    if change is None:
        return None
    return Turn(known[change.last].step, known[change.first].step, change.fall)


def _deviation(gold: Score) -> float:
    """Standard error of a step's gold, from its interval."""
    return (gold.high - gold.low) / (2 * _NORMAL)
