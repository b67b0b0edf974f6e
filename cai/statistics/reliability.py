"""How far raters agree beyond chance: Krippendorff's α and Cohen's κ with intervals between prompts.

Both are 1 - D_o/D_e, observed over expected disagreement. The values are evalica's and scikit-learn's. The
intervals are ours, because several pairs may share a prompt: evalica's bootstrap (Krippendorff 2006, the one
in KALPHA) draws single disagreements as if they were independent and keeps D_e fixed. Here D_o and D_e are
functions of sums over prompts, one prompt is left out at a time, and log(D_o/D_e) gets Student's t interval
with the jackknife's variance (Efron and Stein 1981). On the log scale no limit lies above 1. Coverage in
simulations is in docs/agreement.md.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from cai.statistics.clusters import wilson
from cai.statistics.intervals import CONFIDENCE
from cai.values.types import Score

Floats = npt.NDArray[np.float64]
Disagreement = Callable[[Floats], tuple[Floats, Floats]]
LOWEST = -1.0  # where nothing is known of an interval


class Undefined(Exception):
    """A coefficient that does not exist for these votes; the message says why."""


def alpha(
    values: Sequence[Sequence[float]],
    clusters: Sequence[Hashable],
    distance: Literal["nominal", "interval"] = "nominal",
) -> Score:
    """Krippendorff's α (2018, §12) of units with any number of votes each; who cast them does not matter.

    ``values[i]`` are unit i's votes, ``clusters[i]`` its prompt. Units with fewer than two votes say nothing
    and are left out; ``n`` counts the prompts of the others.

    Raises:
        Undefined: no unit has two votes, or all votes are the same.
    """
    paired = [(unit, cluster) for unit, cluster in zip(values, clusters, strict=True) if len(unit) > 1]
    if not paired:
        raise Undefined("no pair has votes by two raters")
    classes = sorted({value for unit, _ in paired for value in unit})
    if len(classes) == 1:
        raise Undefined("all votes are the same, so agreement by chance is complete as well")
    if distance == "nominal":
        number = {value: index for index, value in enumerate(classes)}
        parts = [_nominal_part([number[value] for value in unit], len(classes)) for unit, _ in paired]
        disagreement: Disagreement = _nominal
    else:
        parts = [_interval_part(unit) for unit, _ in paired]
        disagreement = _interval
    value = _evalica([unit for unit, _ in paired], distance)
    return _jackknife(value, _by_cluster(parts, [cluster for _, cluster in paired]), disagreement)


def kappa(
    first: Sequence[int],
    second: Sequence[int],
    clusters: Sequence[Hashable],
    weights: Sequence[float] | None = None,
) -> Score:
    """Cohen's κ (1960) of two raters over nominal classes; ``n`` counts prompts.

    Raises:
        Undefined: they have no pair in common, or both always said the same one thing.
    """
    if not first:
        raise Undefined("no pair in common")
    classes = sorted({*first, *second})
    if len(classes) == 1:
        raise Undefined("both gave one and the same answer throughout")
    number = {value: index for index, value in enumerate(classes)}
    parts = []
    for x, y, weight in zip(first, second, weights or [1.0] * len(first), strict=True):
        table = np.zeros((len(classes), len(classes)))
        table[number[x], number[y]] = weight
        parts.append(table.ravel())
    value = _sklearn(first, second, weights)
    return _jackknife(value, _by_cluster(parts, clusters), _confusion)


def _evalica(units: Sequence[Sequence[float]], distance: Literal["nominal", "interval"]) -> float:
    import pandas as pd  # type: ignore[import-untyped]
    from evalica import alpha as evalica_alpha

    # α ignores who voted, so votes are packed into as many rows as the fullest unit has: [most votes, units].
    packed = np.full((max(map(len, units)), len(units)), np.nan)
    for column, unit in enumerate(units):
        packed[: len(unit), column] = unit
    return float(evalica_alpha(pd.DataFrame(packed), distance=distance).alpha)


def _sklearn(first: Sequence[int], second: Sequence[int], weights: Sequence[float] | None) -> float:
    from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score(first, second, sample_weight=weights))


def _nominal_part(unit: Sequence[int], classes: int) -> Floats:
    """Votes by class, and ordered pairs of votes that differ over m-1: [classes + 1]."""
    counts = np.bincount(unit, minlength=classes).astype(np.float64)
    m = len(unit)
    return np.append(counts, (m * m - (counts**2).sum()) / (m - 1))


def _nominal(sums: Floats) -> tuple[Floats, Floats]:
    """D_o and D_e from sums of ``_nominal_part``: [..., classes + 1] → [...] each."""
    counts, observed = sums[..., :-1], sums[..., -1]
    n = counts.sum(-1)
    return observed / n, (n**2 - (counts**2).sum(-1)) / (n * (n - 1))


def _interval_part(unit: Sequence[float]) -> Floats:
    """m, Σx, Σx², and Σ over ordered pairs of (x-y)² over m-1: [4]."""
    x = np.asarray(unit, dtype=np.float64)
    m = len(x)
    return np.array([m, x.sum(), (x**2).sum(), 2 * (m * (x**2).sum() - x.sum() ** 2) / (m - 1)])


def _interval(sums: Floats) -> tuple[Floats, Floats]:
    """D_o and D_e from sums of ``_interval_part``: [..., 4] → [...] each."""
    n, total, squares, observed = np.moveaxis(sums, -1, 0)
    return observed / n, 2 * (n * squares - total**2) / (n * (n - 1))


def _confusion(sums: Floats) -> tuple[Floats, Floats]:
    """D_o and D_e from flattened tables of two raters: [..., classes²] → [...] each."""
    size = math.isqrt(sums.shape[-1])
    share = sums / sums.sum(-1, keepdims=True)
    table = share.reshape(*sums.shape[:-1], size, size)
    agreed = np.trace(table, axis1=-2, axis2=-1)
    by_chance = (table.sum(-1) * table.sum(-2)).sum(-1)
    return 1 - agreed, 1 - by_chance


def _by_cluster(parts: Sequence[Floats], clusters: Sequence[Hashable]) -> Floats:
    """Sums of ``parts`` [N, D] over each cluster: [G, D]."""
    number: dict[Hashable, int] = {}
    rows = [number.setdefault(cluster, len(number)) for cluster in clusters]
    sums = np.zeros((len(number), len(parts[0])))
    np.add.at(sums, rows, np.stack(parts))
    return sums


def _jackknife(value: float, sums: Floats, disagreement: Disagreement) -> Score:
    """``value`` with the interval of 1 - D_o/D_e between the G clusters of ``sums`` [G, D].

    Without any disagreement the jackknife sees no spread, and where all of it is in one cluster log(D_o) does
    not exist without that one: D_o is then taken between Wilson's limits for none or one in G. A single
    cluster, or one without which the coefficient would not exist, leaves all open.
    """
    from scipy.stats import t

    groups = len(sums)
    observed, expected = disagreement(sums.sum(0))
    if observed < 1e-12:
        highest = wilson(0.0, groups)[1]
        return Score(value, max(LOWEST, 1 - highest / float(expected)), 1.0, groups)
    if groups < 2:
        return Score(value, LOWEST, 1.0, groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        without_observed, without_expected = disagreement(sums.sum(0) - sums)
        logs = np.log(without_observed / without_expected)
    if without_expected.min() > 1e-12 and without_observed.min() < 1e-12:
        odds = [limit * groups * float(observed / expected) for limit in wilson(1 / groups, groups)]
        return Score(value, max(LOWEST, 1 - odds[1]), 1 - odds[0], groups)
    if not np.isfinite(logs).all():
        return Score(value, LOWEST, 1.0, groups)
    variance = (groups - 1) / groups * ((logs - logs.mean()) ** 2).sum()
    half = float(t.ppf((1 + CONFIDENCE) / 2, groups - 1)) * math.sqrt(variance)
    centre = math.log(float(observed / expected))
    low, high = 1 - math.exp(min(centre + half, 50.0)), 1 - math.exp(centre - half)
    return Score(value, max(LOWEST, low), high, groups)
