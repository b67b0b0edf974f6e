"""Means over values that come in clusters, such as several pairs of answers to one prompt.

Values of a cluster are not independent, so the unit of every interval is the cluster.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from cai.statistics.intervals import CONFIDENCE
from cai.values.types import Score


def clustered_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    low: float = -math.inf,
    high: float = math.inf,
) -> Score | None:
    """Mean of values in [``low``, ``high``] with Student's t interval between clusters.

    The mean m of N values is a ratio of two sums over G clusters, so its variance is
    G/(G-1) Σ_g (Σ_{i in g} (x_i - m))² / N² (linearised; Cochran 1977, §6.4), the usual one where every
    value is a cluster. None of nothing, and of a single cluster without bounds, whose spread nobody knows.
    ``n`` counts clusters.
    """
    if not values:
        return None
    mean = sum(values) / len(values)
    sums = _residuals(values, clusters, mean)
    if len(sums) == 1:
        bounded = math.isfinite(low) and math.isfinite(high)
        return Score(mean, low, high, 1) if bounded else None
    half = _t_quantile(len(sums) - 1) * math.sqrt(_variance(sums, len(values)))
    return Score(mean, max(low, mean - half), min(high, mean + half), len(sums))


def clustered_proportion(outcomes: Sequence[bool], clusters: Sequence[Hashable]) -> Score | None:
    """Share of true outcomes with Wilson's interval (Wilson 1927) at the *effective* number of outcomes.

    That number is N times the variance of N independent outcomes over the variance between clusters, at most
    N, and the number of clusters where all outcomes are alike (Korn and Graubard 1998). With one outcome per
    cluster it is N and the interval is ``intervals.proportion``'s.
    """
    if not outcomes:
        return None
    count = len(outcomes)
    share = sum(outcomes) / count
    sums = _residuals([float(outcome) for outcome in outcomes], clusters, share)
    effective = float(len(sums))
    if len(sums) > 1 and 0.0 < share < 1.0:
        between = _variance(sums, count)
        effective = count * min(1.0, share * (1 - share) / (count - 1) / between) if between else float(count)
    low, high = wilson(share, max(1.0, effective))
    return Score(share, low, high, len(sums))


def weighted_share(
    shares: Sequence[float], weights: Sequence[float], clusters: Sequence[Hashable]
) -> Score | None:
    """Σ w s / Σ w of shares in [0, 1], with Wilson's interval at the effective number of clusters.

    The variance between clusters is that of a ratio (linearised; Cochran 1977, §6.4), and the number is that
    of independent outcomes with this variance, at most Kish's (Σ w)² / Σ w² of the clusters' weights (Kish
    1965, §8.2), which it is where all are alike. None where no weight is above 0. ``n`` counts clusters with
    weight.
    """
    total = math.fsum(weights)
    if total <= 0.0:
        return None
    share = math.fsum(w * s for w, s in zip(weights, shares, strict=True)) / total
    parts: dict[Hashable, float] = defaultdict(float)
    masses: dict[Hashable, float] = defaultdict(float)
    for weight, value, cluster in zip(weights, shares, clusters, strict=True):
        if weight > 0.0:
            parts[cluster] += weight * (value - share)
            masses[cluster] += weight
    effective = total**2 / math.fsum(mass**2 for mass in masses.values())
    if len(masses) > 1 and 0.0 < share < 1.0:
        groups = len(masses)
        between = groups / (groups - 1) * math.fsum(part**2 for part in parts.values()) / total**2
        if between > 0.0:
            effective = min(effective, share * (1 - share) / between)
    low, high = wilson(share, max(1.0, effective))
    return Score(share, low, high, len(masses))


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's interval of a share among ``n`` outcomes, which need not be a whole number."""
    from scipy.stats import norm

    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def _residuals(values: Iterable[float], clusters: Iterable[Hashable], mean: float) -> list[float]:
    """Σ (x - mean) of each cluster."""
    sums: dict[Hashable, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += value - mean
    return list(sums.values())


def _variance(sums: Sequence[float], count: int) -> float:
    groups = len(sums)
    return groups / (groups - 1) * sum(value * value for value in sums) / count**2


def _t_quantile(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))
