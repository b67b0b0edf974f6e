"""Probabilities that are known from counts: a mean and a variance, carried through averages and log-odds.

    first = of_counts(7, 1)                     # Jeffreys: Beta(1/2 + 7, 1/2 + 1)
    label = mean([first, of_counts(5, 3)])      # two orders of showing
    label.interval                              # 95 %

A probability known exactly has variance 0. Sums are exact; through log-odds variances go to first order (the
delta method), and an interval is that of the beta distribution with the same mean and variance: exact for one
count, near for a mean of several (``benchmarks/sampled_labels.py`` measures how near).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cai.values.odds import log_odds, sigmoid

JEFFREYS = 0.5  # of each side: Beta(1/2, 1/2), the reference prior of a share (Brown, Cai, DasGupta 2001, §3)
TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Uncertain:
    """P with the variance of what is known of it. ``low_open`` and ``high_open``: no count speaks against
    0, 1."""

    p: float
    variance: float = 0.0
    low_open: bool = False
    high_open: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """The central 95 %, up to 1 where no verdict was against it and down to 0 likewise.

        Those ends are the modification of Brown, Cai and DasGupta (2001, §4.1.1): without them a Jeffreys
        interval of n out of n never holds a P near 1.
        """
        low, high = _central(self.p, self.variance)
        return (0.0 if self.low_open else low), (1.0 if self.high_open else high)

    def other(self) -> Uncertain:
        """Of the opposite."""
        return Uncertain(1.0 - self.p, self.variance, self.high_open, self.low_open)

    def shifted(self, odds: float) -> Uncertain:
        """``odds`` nats added to the log-odds."""
        return _at(log_odds(self.p) + odds, self._log_variance, self.low_open, self.high_open)

    @property
    def _log_variance(self) -> float:
        """Of the log-odds, to first order: variance / (p (1-p))²."""
        return 0.0 if self.variance == 0.0 else self.variance / (self.p * (1.0 - self.p)) ** 2


def of_counts(first: float, second: float) -> Uncertain:
    """The posterior of P(first) after so many verdicts for each side; a tie is half a verdict for either."""
    a, b = first + JEFFREYS, second + JEFFREYS
    whole = a + b
    return Uncertain(a / whole, a * b / (whole * whole * (whole + 1)), first == 0, second == 0)


def mean(parts: Sequence[Uncertain]) -> Uncertain:
    """The mean of independent probabilities."""
    n = len(parts)
    return Uncertain(sum(p.p for p in parts) / n, sum(p.variance for p in parts) / n**2, *_open(parts))


def mean_odds(parts: Sequence[Uncertain]) -> Uncertain:
    """The probability at the mean of their log-odds."""
    n = len(parts)
    odds = sum(log_odds(part.p) for part in parts) / n
    return _at(odds, sum(part._log_variance for part in parts) / n**2, *_open(parts))


def preferred(one: Uncertain, other: Uncertain) -> Uncertain:
    """σ(log-odds of one − log-odds of the other): Bradley and Terry's P(one preferred)."""
    against = other.other()
    ends = one.low_open and against.low_open, one.high_open and against.high_open
    return _at(log_odds(one.p) - log_odds(other.p), one._log_variance + other._log_variance, *ends)


def _open(parts: Sequence[Uncertain]) -> tuple[bool, bool]:
    return all(part.low_open for part in parts), all(part.high_open for part in parts)


def _at(odds: float, log_variance: float, low_open: bool, high_open: bool) -> Uncertain:
    p = sigmoid(odds)
    return Uncertain(p, log_variance * (p * (1.0 - p)) ** 2, low_open, high_open)


@lru_cache(maxsize=4096)
def _central(p: float, variance: float) -> tuple[float, float]:
    """Quantiles at 2.5 and 97.5 % of the beta distribution with this mean and variance."""
    if variance <= 0.0 or not 0.0 < p < 1.0:
        return p, p
    from scipy.special import betaincinv

    size = max(p * (1.0 - p) / variance - 1.0, 1e-9)  # α + β; a larger variance than p (1-p) has no beta
    low, high = (float(betaincinv(p * size, (1.0 - p) * size, q)) for q in (TAIL, 1.0 - TAIL))
    return (low if math.isfinite(low) else 0.0), (high if math.isfinite(high) else 1.0)
