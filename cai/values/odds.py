"""Probabilities and log-odds. Standard library only, and nothing overflows."""

from __future__ import annotations

import math
from collections.abc import Sequence

SUREST = 36.0  # nats, from which float64 cannot tell a probability from 0 or 1


def log_odds(p: float) -> float:
    """log p/(1-p) in nats, at most ``SUREST`` either way; exactly 0 of 0.5."""
    if not 0.0 < p < 1.0:
        return math.copysign(SUREST, p - 0.5)
    return min(max(math.log(p) - math.log1p(-p), -SUREST), SUREST)


def sigmoid(odds: float) -> float:
    """1/(1 + e^-odds)."""
    return 1.0 / (1.0 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1.0 + math.exp(odds))


def mean_log_odds(probabilities: Sequence[float]) -> float:
    """The probability at the mean of the log-odds."""
    return sigmoid(sum(map(log_odds, probabilities)) / len(probabilities))
