"""Differences between two models' figures, paired by prompt where both answered the same prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cai.report.material import Answer
from cai.statistics.difference import difference
from cai.statistics.intervals import interval, mean, proportion
from cai.values.types import Score

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Change:
    """``after`` - ``before`` with its interval; ``n`` of a paired one counts the prompts of both."""

    before: Score
    after: Score
    gap: Score
    paired: bool

    @property
    def sure(self) -> bool:
        """Whether the interval excludes "no change"."""
        return self.gap.low > 0 or self.gap.high < 0


def change(before: Score, after: Score, first: Values, second: Values) -> Change:
    """The change between two figures; ``first`` and ``second`` are their values by prompt id, if known."""
    gap = paired_difference(first, second)
    # Values that are not those behind the figures would pair the wrong thing.
    if gap is not None and gap.n == before.n == after.n and _close(gap.value, after.value - before.value):
        return Change(before, after, gap, True)
    return Change(before, after, difference(before, after), False)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6)


def paired_difference(first: Values, second: Values) -> Score | None:
    """Mean of second - first over the prompts that both have; None of fewer than two.

    For truth values the two Wilson intervals are joined with the correlation of the two outcomes (Newcombe
    1998b, method 10 without its continuity correction): Student's t on differences has no width where all
    are alike. For other values it is Student's t interval.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 2:
        return None
    x, y = [first[key] for key in shared], [second[key] for key in shared]
    if not set(x) | set(y) <= {0.0, 1.0}:
        return interval([b - a for a, b in zip(x, y, strict=True)])
    before, after = proportion([value == 1.0 for value in x]), proportion([value == 1.0 for value in y])
    assert before is not None
    assert after is not None
    gap, phi = after.value - before.value, correlation(x, y)
    low = _joined(after.value - after.low, before.high - before.value, phi)
    high = _joined(after.high - after.value, before.value - before.low, phi)
    return Score(gap, gap - low, gap + high, len(shared))


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's; 0 where one of the two never changes."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    both = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    spread = math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))
    return both / spread if spread else 0.0


def values_of(answers: Sequence[Answer], suite: str, metric: str) -> dict[str, float]:
    """A metric's value by prompt id, from a column ``suite/metric`` or ``metric`` of the eval table."""
    found = {}
    for answer in answers:
        value = answer.values.get(f"{suite}/{metric}", answer.values.get(metric))
        if value is not None:
            found[answer.prompt.id] = value
    return found


def lengths(answers: Sequence[Answer]) -> dict[str, float]:
    """Words of every answer, by prompt id."""
    return {answer.prompt.id: float(len(answer.text.split())) for answer in answers}


def average(values: Values) -> Score | None:
    """Mean with Student's t interval, over prompts; within [0, 1] where all values are."""
    numbers = list(values.values())
    inside = all(0.0 <= value <= 1.0 for value in numbers)
    return mean(numbers) if inside and len(numbers) > 1 else interval(numbers)
