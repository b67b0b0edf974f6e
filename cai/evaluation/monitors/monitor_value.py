"""What a monitor comes to, and what all monitors share: limits of intervals, too little to go by, wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cai.evaluation.monitors.text_statistics import Pair
from cai.statistics.difference import difference
from cai.values.types import Score

MIN_PROMPTS = 20

Change = tuple[Score, Score]


@dataclass(frozen=True, slots=True)
class Monitor:
    """One failure mode. ``value`` is None where it could not be measured; ``text`` then says why.

    ``figures`` are what it looked at, by name; ``value`` is the one that ``limit`` is about.
    """

    name: str
    value: Score | None
    limit: float
    tripped: bool
    text: str
    figures: tuple[tuple[str, Score], ...] = ()


def rise(name: str, figure: str, change: Change, limit: float, what: str) -> Monitor:
    """A share, trained minus base; trips where it rose by more than ``limit``."""
    before, after = change
    n = min(before.n, after.n)
    if n < MIN_PROMPTS:
        return Monitor(name, None, limit, False, f"not measured: {n} prompts, {MIN_PROMPTS} needed")
    risen = difference(before, after)
    text = f"{what}: {before.value:.1%} → {after.value:.1%}, {shown(risen, sign=True)} (limit +{limit:g})"
    return Monitor(name, risen, limit, risen.low > limit, text, ((figure, risen),))


def too_few(
    name: str, pairs: Sequence[Pair], limit: float, what: str = "prompts that both models answered"
) -> Monitor | None:
    n = count_prompts(pairs)
    if n >= MIN_PROMPTS:
        return None
    return Monitor(name, None, limit, False, f"not measured: {n} {what}, {MIN_PROMPTS} needed")


def count_prompts(pairs: Sequence[Pair]) -> int:
    return len({pair.prompt.id for pair in pairs})


def shown(score: Score | None, sign: bool = False) -> str:
    if score is None:
        return "not measured"
    plus = "+" if sign else ""
    return f"{score.value:{plus}.3f} [{score.low:{plus}.3f}, {score.high:{plus}.3f}]"
