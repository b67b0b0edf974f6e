"""Values with 95 % intervals. The unit is the prompt: one answer per prompt, prompts independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cai.values.types import Score

CONFIDENCE = 0.95


def proportion(outcomes: Sequence[bool]) -> Score | None:
    """Share of true outcomes with Wilson's interval (Wilson 1927); None of nothing."""
    if not outcomes:
        return None
    from scipy.stats import binomtest

    n, hits = len(outcomes), sum(outcomes)
    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return Score(hits / n, float(interval.low), float(interval.high), n)


def mean(values: Sequence[float]) -> Score | None:
    """Mean of values in [0, 1] with Student's t interval, cut to [0, 1]; None of nothing.

    The percentile bootstrap was tried first and covers less (docs/lab-notes.md). With a single value the
    spread is unknown, and the interval is the whole range.
    """
    if len(values) == 1:
        return Score(values[0], 0.0, 1.0, 1)
    score = interval(values)
    return None if score is None else replace(score, low=max(0.0, score.low), high=min(1.0, score.high))


def interval(values: Sequence[float]) -> Score | None:
    """Mean of values of any range with Student's t interval; None of fewer than two."""
    n = len(values)
    if n < 2:
        return None
    from scipy.stats import t

    centre = sum(values) / n
    variance = sum((value - centre) ** 2 for value in values) / (n - 1)
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * math.sqrt(variance / n)
    return Score(centre, centre - half, centre + half, n)
