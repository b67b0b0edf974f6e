"""The area under the ROC curve; its interval stays in [0, 1] and has a width where all is ranked right.

The area is P(a true item is scored above a false one), ties half. Its interval is Newcombe's method 5 (2006):
the values t for which |area - t| ≤ z √V(t), with the variance of Hanley and McNeil (1982) taken at t,

    V(t) = t (1 - t) (1 + k ((1 - t)/(2 - t) + t/(1 + t))) / (m n),   k = (m + n)/2 - 1.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from cai.statistics.intervals import CONFIDENCE
from cai.values.types import Score


def auc(labels: Sequence[bool], scores: Sequence[float], clusters: Sequence[Hashable]) -> Score | None:
    """The area; ``m`` and ``n`` of its interval are the clusters with true and with false items.

    So several answers to one prompt count as one, which is cautious. ``n`` of the score counts all clusters.
    None where there are not both sorts of items.
    """
    if len(set(labels)) < 2:
        return None
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

    area = float(roc_auc_score(labels, scores))
    true, false = (
        len({cluster for label, cluster in zip(labels, clusters, strict=True) if label is kind})
        for kind in (True, False)
    )
    return Score(area, *newcombe(area, true, false), len(set(clusters)))


def newcombe(area: float, true: int, false: int) -> tuple[float, float]:
    """Newcombe's interval of an area from ``true`` and ``false`` independent items."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    z, k = float(norm.ppf((1 + CONFIDENCE) / 2)), (true + false) / 2 - 1

    def beyond(t: float) -> float:
        spread = t * (1 - t) * (1 + k * ((1 - t) / (2 - t) + t / (1 + t))) / (true * false)
        return abs(area - t) - z * math.sqrt(spread)

    # Nothing close to the area is beyond; 0 and 1, where V is 0, are. One root lies on each side.
    near = 1e-12
    low = 0.0 if area == 0.0 else float(brentq(beyond, 0.0, min(area, 1 - near)))
    high = 1.0 if area == 1.0 else float(brentq(beyond, max(area, near), 1.0))
    return low, high
