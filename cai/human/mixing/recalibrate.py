"""AI labels put right on the pairs that people judged too.

    calibrate = fit(p, human, prompts, "temperature")      # calibrate(0.9) -> 0.74
    calibrate = fit_by(p, human, prompts, "temperature", keys=themes)      # calibrate(0.9, "privacy")
    scores = cross_validated(p, human, prompts, "temperature")      # does it help where it was not fitted?

``p`` are the AI's P(a preferred), ``human`` the share of people for ``a``. Which response is ``a`` means
nothing, so every calibrator f has f(1-p) = 1 - f(p); there is no intercept, and f(1/2) = 1/2.

temperature  f(p) = σ(s logit p) with the slope s that has the least log-loss (Guo et al. 2017, §4.2); the
             temperature is 1/s. One pseudo-vote, half for each side, at the root mean square logit keeps s
             finite where the AI was always right. s < 0 is a labeler that is wrong more often than right.
isotonic     the monotone f with the least squared error on the pairs in both orders (Zadrozny and Elkan
             2002), kept 1/(2G+2) away from 0 and 1 for G prompts. It cannot turn a labeler round: one that is
             wrong more often than right comes out as 1/2.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from cai.human.agreement.overlap import CERTAIN
from cai.human.mixing import slope
from cai.human.mixing.slope import Floats, Pairs
from cai.statistics import prediction
from cai.statistics.clusters import clustered_mean
from cai.statistics.prediction import PairScore
from cai.values.errors import CaiError
from cai.values.types import Score

Method = Literal["temperature", "isotonic"]
MINIMUM: Mapping[Method, int] = {"temperature": 20, "isotonic": 100}  # prompts that people judged
SIGNIFICANCE = 0.05  # of singling out any key at all where none differs


@dataclass(frozen=True, slots=True)
class Calibrator:
    """f: P of the AI → calibrated P, fitted on ``pairs`` of ``prompts``.

    It is a ``slope`` for temperature; for isotonic, the points ``at`` → ``to`` with lines between.
    """

    method: Method
    prompts: int
    pairs: int
    slope: float | None = None
    at: tuple[float, ...] = ()
    to: tuple[float, ...] = ()

    @property
    def temperature(self) -> float | None:
        """1/slope: above 1 the AI was too sure; negative, it was wrong more often than right."""
        if self.slope is None:
            return None
        return 1 / self.slope if self.slope else math.inf

    def __call__(self, p: float) -> float:
        if self.slope is not None:
            return slope.sigmoid(self.slope * slope.logit(p))
        # Both orders, so that rounding cannot break f(1-p) = 1 - f(p).
        forth, back = np.interp([p, 1 - p], self.at, self.to)
        return float((forth + 1 - back) / 2)


@dataclass(frozen=True, slots=True)
class ByKey:
    """A shared calibrator, and ``own`` ones for the keys on which the AI differs from all the others.

    ``slopes`` is the slope of every key with enough prompts, ``n`` counting them; ``too_few`` are the others.
    """

    shared: Calibrator
    own: Mapping[str, Calibrator] = field(default_factory=dict)
    slopes: Mapping[str, Score] = field(default_factory=dict)
    too_few: tuple[str, ...] = ()

    def __call__(self, p: float, key: str) -> float:
        return self.own.get(key, self.shared)(p)


def fit(p: Sequence[float], human: Sequence[float], groups: Sequence[str], method: Method) -> Calibrator:
    """The calibrator of the pairs (p[i], human[i]); ``groups[i]`` is the pair's prompt.

    Raises:
        CaiError: too few prompts (``MINIMUM``), every label is 1/2, or a value is no probability.
    """
    pairs = _checked(p, human, groups, None)
    _require(pairs, method)
    return _fit(pairs, method)


def fit_by(
    p: Sequence[float], human: Sequence[float], groups: Sequence[str], method: Method, keys: Sequence[str]
) -> ByKey:
    """A calibrator for all keys but those on which the AI is otherwise right or wrong than on the rest.

    ``keys[i]`` is a theme, a principle or any other part. The slope of each key is compared with that of all
    others together (z test, errors clustered by prompt). The key that differs most leaves the pool and gets a
    calibrator of its own, and so on until none differs at ``SIGNIFICANCE`` over the number of keys
    (Bonferroni). A key leaves only if it has ``MINIMUM`` prompts and so has the rest. Raises as ``fit``.
    """
    pairs = _checked(p, human, groups, keys)
    _require(pairs, method)
    return _fit_by(pairs, method)


def cross_validated(
    p: Sequence[float],
    human: Sequence[float],
    groups: Sequence[str],
    method: Method,
    folds: int = 5,
    *,
    keys: Sequence[str] | None = None,
) -> dict[str, Score]:
    """``log_loss``, ``ece`` and ``accuracy``, each with ``/before`` and ``/after``, and ``log_loss/gain``.

    A prompt's pairs are calibrated by what was fitted without its fold; with ``keys`` by ``fit_by``. The gain
    is before - after, pair by pair: recalibration helps where its ``low`` is above 0, and does harm where its
    value is below. Folds follow from the prompts alone. Raises as ``fit``.
    """
    pairs = _checked(p, human, groups, keys)
    _require(pairs, method)
    if folds < 2:
        raise CaiError(f"cross-validation needs at least 2 folds, not {folds}")
    fold = _folds(pairs.groups, folds)
    after = np.empty_like(pairs.p)
    for number in range(folds):
        train, held = pairs.where(fold != number), np.flatnonzero(fold == number)
        calibrate = _calibrate(train, method, keys is not None)
        after[held] = [calibrate(float(pairs.p[i]), str(pairs.keys[i])) for i in held]
    scored = {"before": _scored(pairs, pairs.p), "after": _scored(pairs, after)}
    scores = {
        f"{metric}/{when}": score
        for metric, measure in prediction.METRICS.items()
        for when, of in scored.items()
        if (score := measure(of)) is not None
    }
    losses = [
        before - after for before, after in zip(_losses(pairs, pairs.p), _losses(pairs, after), strict=True)
    ]
    gain = clustered_mean(losses, pairs.groups.tolist())
    return scores if gain is None else scores | {"log_loss/gain": gain}


def _calibrate(pairs: Pairs, method: Method, by_key: bool) -> Callable[[float, str], float]:
    if by_key:
        return _fit_by(pairs, method)
    shared = _fit(pairs, method)
    return lambda p, _: shared(p)


def _checked(
    p: Sequence[float], human: Sequence[float], groups: Sequence[str], keys: Sequence[str] | None
) -> Pairs:
    keys = [""] * len(p) if keys is None else keys
    if not len(p) == len(human) == len(groups) == len(keys):
        raise CaiError(f"{len(p)} AI labels, {len(human)} votes, {len(groups)} prompts, {len(keys)} keys")
    pairs = Pairs(np.array(p, float), np.array(human, float), np.array(groups, str), np.array(keys, str))
    for name, values in (("AI label", pairs.p), ("vote", pairs.human)):
        wrong = ~((values >= 0) & (values <= 1))
        if wrong.any():
            raise CaiError(f"a probability must lie in [0, 1], and an {name} is {values[wrong][0]}")
    return pairs


def _require(pairs: Pairs, method: Method) -> None:
    if pairs.prompts < MINIMUM[method]:
        raise CaiError(
            f"recalibration by {method} needs AI labels and human votes on the same pairs of at least "
            f"{MINIMUM[method]} prompts; there are {pairs.prompts}. Collect more votes, or leave the labels "
            "as they are"
        )
    if (pairs.p == 0.5).all():
        raise CaiError("every AI label on the overlap is 0.5: there is nothing to recalibrate")


def _fit(pairs: Pairs, method: Method) -> Calibrator:
    prompts, count = pairs.prompts, len(pairs.p)
    if method == "temperature":
        return Calibrator(method, prompts, count, slope=slope.estimate(pairs))
    from sklearn.isotonic import IsotonicRegression  # type: ignore[import-untyped]

    margin = 1 / (2 * prompts + 2)
    model = IsotonicRegression(y_min=margin, y_max=1 - margin)
    model.fit(np.concatenate((pairs.p, 1 - pairs.p)), np.concatenate((pairs.human, 1 - pairs.human)))
    at, to = model.X_thresholds_.tolist(), model.y_thresholds_.tolist()
    return Calibrator(method, prompts, count, at=tuple(at), to=tuple(to))


def _fit_by(pairs: Pairs, method: Method) -> ByKey:
    names = sorted(set(pairs.keys.tolist()))
    sizes = {name: pairs.where(pairs.keys == name).prompts for name in names}
    able = [name for name in names if sizes[name] >= MINIMUM[method]]
    apart: list[str] = []
    while (name := _most_different(pairs, able, apart, method)) is not None:
        apart.append(name)
    rest = pairs.where(~np.isin(pairs.keys, apart))
    return ByKey(
        _fit(rest, method),
        {name: _fit(pairs.where(pairs.keys == name), method) for name in sorted(apart)},
        {name: score for name in able if (score := slope.interval(pairs.where(pairs.keys == name)))},
        tuple(name for name in names if name not in able),
    )


def _most_different(pairs: Pairs, able: Sequence[str], apart: Sequence[str], method: Method) -> str | None:
    """The key in the pool whose slope differs most from the rest of the pool; None where none does."""
    from scipy.stats import norm

    pool = ~np.isin(pairs.keys, apart)
    found: list[tuple[float, float, str]] = []
    for name in able:
        here = pairs.keys == name
        rest = pairs.where(pool & ~here)
        if name in apart or rest.prompts < MINIMUM[method]:
            continue
        own = pairs.where(here)
        first, second = slope.estimate(own), slope.estimate(rest)
        error = math.sqrt(slope.variance(own, first) + slope.variance(rest, second))
        # Of two keys, each is as far from the other; then the worse one leaves.
        found.append((-round(abs(first - second) / error, 9) if error else -math.inf, first, name))
    if not found:
        return None
    z, _, name = min(found)
    return name if -z > norm.ppf(1 - SIGNIFICANCE / 2 / len(able)) else None


def _folds(groups: npt.NDArray[np.str_], folds: int) -> npt.NDArray[np.int64]:
    """The fold of each pair: prompts dealt in the order of their hashes."""
    names = sorted(set(groups.tolist()), key=lambda name: hashlib.sha256(name.encode()).digest())
    number = {name: index % folds for index, name in enumerate(names)}
    return np.array([number[name] for name in groups.tolist()], dtype=np.int64)


def _scored(pairs: Pairs, p: Floats) -> list[PairScore]:
    return [
        PairScore(str(index), group, "ai", (), float(human), slope.logit(float(q)))
        for index, (group, human, q) in enumerate(zip(pairs.groups.tolist(), pairs.human, p, strict=True))
    ]


def _losses(pairs: Pairs, p: Floats) -> list[float]:
    kept = p.clip(CERTAIN, 1 - CERTAIN)
    losses: list[float] = (-pairs.human * np.log(kept) - (1 - pairs.human) * np.log1p(-kept)).tolist()
    return losses
