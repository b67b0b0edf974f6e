"""Has a series fallen for good? A scan for the change, at a stated rate of false alarms.

The null is any series whose mean never falls. The statistic is the largest of

    z(s, t) = (mean of y[s:t] - mean of y[t:]) / (sigma * sqrt(1/(t - s) + 1/(n - t)))

over 0 <= s < t < n: a stretch that lies above what comes after it, to the end. One lucky step is no fall: its
z is measured against the largest of all the pairs of stretches that a flat series of this length would show
by chance. Neither is a dip that heals: the last quarter of what comes after must lie nearer to its mean than
to the stretch above. Under the null every pair's difference has mean 0 or less, so a flat series is the worst
case, and the critical value is its quantile, simulated once for each length.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

FALSE_ALARMS = 0.05  # per series
_SIMULATED = 20_000
_LONGEST = 128  # stretches are looked for among so many values: a longer series is averaged in blocks
_NORMAL_FROM_MAD = 1.4826  # a normal deviation over its median absolute deviation

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """``first:last`` is the stretch above (last excluded), ``last`` the index where the fall begins.

    ``fall`` is the difference of the two means. It is the largest of many, so it is too large on average.
    """

    first: int
    last: int
    fall: float


def lasting_fall(values: Sequence[float], deviations: Sequence[float]) -> Change | None:
    """The clearest fall that lasts to the end, if it is beyond chance; None otherwise, and of fewer than two.

    ``deviations`` are the standard errors of the values. A series that jumps from value to value by more
    than they say is judged by its own jumps.
    """
    n = len(values)
    if n < 2:
        return None
    blocks = min(n, _LONGEST)
    starts = np.linspace(0, n, blocks, endpoint=False).astype(int)
    sizes = np.diff([*starts, n])
    y = (np.add.reduceat(np.asarray(values, dtype=np.float64), starts) / sizes)[None, :]
    sampling = math.sqrt(sum(d * d for d in deviations) / n * blocks / n)
    sigma = max(sampling, float(_jumps(y)[0]))
    if sigma == 0.0:
        sigma = sys.float_info.min  # known exactly: any fall is one
    z, pairs = _scan(y)
    best = int(np.argmax(z[0]))
    if not float(z[0, best]) / sigma > _critical(blocks):
        return None
    s, t = pairs[best]
    after = y[0, t:]
    above, below, end = (float(part.mean()) for part in (y[0, s:t], after, after[-max(1, len(after) // 4) :]))
    if end > (above + below) / 2:
        return None  # it has recovered by the end
    return Change(int(starts[s]), int(starts[t]), above - below)


@cache
def _critical(n: int) -> float:
    """The quantile of the statistic over flat series of ``n`` values whose standard errors are known."""
    rng = np.random.default_rng(n)
    largest = []
    for _ in range(0, _SIMULATED, 1000):
        y = rng.standard_normal((1000, n))
        z, _ = _scan(y)
        largest.append(z.max(axis=1) / np.maximum(1.0, _jumps(y)))
    return float(np.quantile(np.concatenate(largest), 1 - FALSE_ALARMS))


def _scan(y: Floats) -> tuple[Floats, list[tuple[int, int]]]:
    """z times sigma of every pair of stretches of every row of ``y`` [rows, n]."""
    n = y.shape[1]
    sums = np.concatenate([np.zeros((len(y), 1)), y.cumsum(axis=1)], axis=1)
    pairs = [(s, t) for t in range(1, n) for s in range(t)]
    s, t = (np.array(column) for column in zip(*pairs, strict=True))
    before = (sums[:, t] - sums[:, s]) / (t - s)
    after = (sums[:, [n]] - sums[:, t]) / (n - t)
    return (before - after) / np.sqrt(1 / (t - s) + 1 / (n - t)), pairs


def _jumps(y: Floats) -> Floats:
    """The deviation of a value as neighbours' differences tell it; 0 where there are too few of them."""
    if y.shape[1] < 6:
        return np.zeros(len(y))
    steps = np.abs(np.diff(y, axis=1))
    middle: Floats = np.median(steps, axis=1)
    return middle * (_NORMAL_FROM_MAD / math.sqrt(2))
