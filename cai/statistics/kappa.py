"""Agreement of a model's winners with the labels' beyond chance: Cohen's κ with an interval between prompts.

κ = 1 - D_o/D_e, observed over expected disagreement (Cohen 1960). The value is scikit-learn's. For the
interval one prompt is left out at a time, and log(D_o/D_e) gets Student's t interval with the jackknife's
variance (Efron and Stein 1981), so that no limit lies above 1. It needs no random numbers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cai.statistics.clusters import wilson
from cai.statistics.intervals import CONFIDENCE
from cai.statistics.preference import PairScore
from cai.types import Score

Floats = npt.NDArray[np.float64]
CLASSES = 3  # a preferred, neither, b preferred
LOWEST = -1.0


def kappa(pairs: Sequence[PairScore]) -> Score | None:
    """Cohen's κ of labels and model over the pairs that the label decides; ``n`` counts prompts.

    A model that prefers neither response gives a third answer, which agrees with no label. None of nothing,
    and where label and model both always name the same side: agreement by chance is complete then.
    """
    decided = [pair for pair in pairs if pair.p != 0.5]
    labels = [_class(pair.p - 0.5) for pair in decided]
    models = [_class(pair.margin) for pair in decided]
    if len({*labels, *models}) < 2:
        return None
    number: dict[str, int] = {}
    rows = [number.setdefault(pair.prompt_id, len(number)) for pair in decided]
    tables = np.zeros((len(number), CLASSES, CLASSES))
    np.add.at(tables, (rows, labels, models), 1.0)
    return _jackknife(_sklearn(labels, models), tables)


def _class(difference: float) -> int:
    return 0 if difference > 0 else 2 if difference < 0 else 1


def _sklearn(labels: Sequence[int], models: Sequence[int]) -> float:
    from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score(labels, models))


def _disagreement(tables: Floats) -> tuple[Floats, Floats]:
    """D_o and D_e of tables of counts: [..., C, C] → [...] each."""
    share = tables / tables.sum((-1, -2), keepdims=True)
    agreed = np.trace(share, axis1=-2, axis2=-1)
    by_chance = (share.sum(-1) * share.sum(-2)).sum(-1)
    return 1 - agreed, 1 - by_chance


def _jackknife(value: float, tables: Floats) -> Score:
    """``value`` with its interval between the G prompts of ``tables`` [G, C, C].

    Without any disagreement the jackknife sees no spread: D_o is then taken up to Wilson's upper limit for
    none in G. A single prompt, or one without which κ would not exist, leaves all open.
    """
    from scipy.stats import t

    groups = len(tables)
    observed, expected = _disagreement(tables.sum(0))
    if observed < 1e-12:
        return Score(value, max(LOWEST, 1 - wilson(0.0, groups)[1] / float(expected)), 1.0, groups)
    if groups < 2:
        return Score(value, LOWEST, 1.0, groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        without_observed, without_expected = _disagreement(tables.sum(0) - tables)
        logs = np.log(without_observed / without_expected)
    if not np.isfinite(logs).all():
        return Score(value, LOWEST, 1.0, groups)
    variance = (groups - 1) / groups * ((logs - logs.mean()) ** 2).sum()
    half = float(t.ppf((1 + CONFIDENCE) / 2, groups - 1)) * math.sqrt(variance)
    centre = math.log(float(observed / expected))
    low, high = 1 - math.exp(min(centre + half, 50.0)), 1 - math.exp(centre - half)
    return Score(value, max(LOWEST, low), high, groups)
