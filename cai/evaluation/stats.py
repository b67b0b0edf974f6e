"""Values with 95 % intervals. The unit is the prompt: one answer per prompt, prompts independent."""

from __future__ import annotations

from collections.abc import Sequence

from cai.types import Score

CONFIDENCE = 0.95
_RESAMPLES = 2000


def proportion(outcomes: Sequence[bool]) -> Score | None:
    """Share of true outcomes with Wilson's interval (Wilson 1927); None of nothing."""
    if not outcomes:
        return None
    from scipy.stats import binomtest

    n, hits = len(outcomes), sum(outcomes)
    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return Score(hits / n, float(interval.low), float(interval.high), n)


def mean(values: Sequence[float]) -> Score | None:
    """Mean with a bootstrap percentile interval (Efron 1979), seeded; None of nothing.

    With a single value the interval is unknown and spans the value's whole possible range [0, 1].
    """
    if not values:
        return None
    n = len(values)
    centre = sum(values) / n
    if n == 1:
        return Score(centre, 0.0, 1.0, 1)
    if min(values) == max(values):
        return Score(centre, centre, centre, n)
    import numpy as np
    from scipy.stats import bootstrap

    result = bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return Score(centre, float(low), float(high), n)
