"""The slope of a calibration σ(s logit p): estimate, error and interval. Used by ``recalibrate.py``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cai.human.agreement.overlap import CERTAIN
from cai.statistics.intervals import CONFIDENCE
from cai.values.types import Score

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The overlap as arrays [N]."""

    p: Floats
    human: Floats
    groups: npt.NDArray[np.str_]
    keys: npt.NDArray[np.str_]

    def where(self, kept: npt.NDArray[np.bool_]) -> Pairs:
        return Pairs(self.p[kept], self.human[kept], self.groups[kept], self.keys[kept])

    @property
    def prompts(self) -> int:
        return len(np.unique(self.groups))

    @property
    def logits(self) -> Floats:
        kept = self.p.clip(CERTAIN, 1 - CERTAIN)
        logits: Floats = np.log(kept) - np.log1p(-kept)
        return logits


def estimate(pairs: Pairs) -> float:
    """The s of least log-loss: a convex function of one variable. 0 where all logits are 0."""
    from scipy.optimize import minimize_scalar

    x, h = pairs.logits, pairs.human
    typical = math.sqrt(float((x**2).mean()))
    if typical == 0:
        return 0.0
    x, h = np.append(x, typical), np.append(h, 0.5)  # the pseudo-vote
    # Per unit of the typical logit, so that the scale of the labels does not matter to the search.
    scaled = x / typical

    def loss(slope: float) -> float:
        return float((np.logaddexp(0, -slope * scaled) + (1 - h) * slope * scaled).sum())

    return float(minimize_scalar(loss, bracket=(0.0, 1.0), options={"xtol": 1e-10}).x) / typical


def variance(pairs: Pairs, slope: float) -> float:
    """The variance of the slope, clustered by prompt: Σ_g (Σ_g score)² / information² · G/(G-1).

    Never below 1/information: where the AI was always right the residuals, and with them the first, vanish.
    """
    x = pairs.logits
    q = 1 / (1 + np.exp(-np.clip(slope * x, -700, 700)))
    _, number = np.unique(pairs.groups, return_inverse=True)
    sums = np.bincount(number, weights=x * (pairs.human - q))
    information = float((x**2 * q * (1 - q)).sum())
    groups = len(sums)
    if groups < 2 or information == 0:
        return math.inf
    between = float((sums**2).sum()) / information**2 * groups / (groups - 1)
    return max(between, 1 / information)


def interval(pairs: Pairs) -> Score | None:
    """The slope with Student's t interval between prompts; None where the pairs say nothing about it."""
    from scipy.stats import t

    slope, groups = estimate(pairs), pairs.prompts
    error = math.sqrt(variance(pairs, slope))
    if not math.isfinite(error):
        return None
    half = float(t.ppf((1 + CONFIDENCE) / 2, groups - 1)) * error
    return Score(slope, slope - half, slope + half, groups)


def logit(p: float) -> float:
    kept = min(max(p, CERTAIN), 1 - CERTAIN)
    return math.log(kept) - math.log1p(-kept)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
