"""Recalibration: known temperatures come back, harm is visible, and one bad theme is found and no other."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression

from cai.human.mixing.recalibrate import Method, cross_validated, fit, fit_by
from cai.values.errors import CaiError

Floats = npt.NDArray[np.float64]
METHODS: list[Method] = ["temperature", "isotonic"]
THEMES = ["theft", "privacy", "insults", "danger", "flattery"]


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def overlap(n: int, slope: float, seed: int) -> tuple[list[float], list[float], list[str]]:
    """Labels whose true P is σ(slope · logit p), two pairs to a prompt, one vote to a pair."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 3, size=n)
    votes = (draw.random(n) < sigmoid(slope * logits)).astype(float)
    return sigmoid(logits).tolist(), votes.tolist(), [f"p{i // 2}" for i in range(n)]


def test_a_temperature_of_three_is_recovered() -> None:
    temperatures = [fit(*overlap(4000, 1 / 3, seed), "temperature").temperature for seed in range(5)]
    assert np.mean(temperatures) == pytest.approx(3, rel=0.05)


def test_the_slope_is_logistic_regressions_without_intercept() -> None:
    p, human, groups = overlap(300, 0.5, 0)
    x = np.log(np.array(p) / (1 - np.array(p)))
    typical = math.sqrt((x**2).mean())
    inputs = np.concatenate((x, [typical, typical]))[:, None]
    answers = np.concatenate((human, [0.0, 1.0]))
    weights = np.concatenate((np.ones(300), [0.5, 0.5]))  # the pseudo-vote
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    model.fit(inputs, answers, sample_weight=weights)
    found = fit(p, human, groups, "temperature").slope
    assert found == pytest.approx(float(model.coef_[0, 0]), rel=1e-5)


def test_soft_labels_by_hand() -> None:
    """All logits ±2 and people agreeing in three of four: σ(2s) = (60·3/4 + 1/2)/61 with the pseudo-vote."""
    p = float(sigmoid(np.array(2.0)))
    found = fit([p, 1 - p] * 30, [0.75, 0.25] * 30, [str(i) for i in range(60)], "temperature")
    share = (60 * 0.75 + 0.5) / 61
    expected = brentq(lambda s: float(sigmoid(np.array(2 * s))) - share, 0, 5)
    assert found.slope == pytest.approx(expected, abs=1e-7)
    assert found(p) == pytest.approx(share, abs=1e-7)
    assert (found.prompts, found.pairs) == (60, 60)


@pytest.mark.parametrize("method", METHODS)
def test_which_response_is_a_means_nothing(method: Method) -> None:
    p, human, groups = overlap(400, 0.4, 1)
    f = fit(p, human, groups, method)
    turned = fit([1 - x if i % 3 else x for i, x in enumerate(p)],
                 [1 - h if i % 3 else h for i, h in enumerate(human)], groups, method)  # fmt: skip
    grid = np.linspace(0, 1, 101).tolist()
    for x in grid:
        assert f(x) + f(1 - x) == pytest.approx(1, abs=1e-12)
        assert f(x) == pytest.approx(turned(x), abs=1e-6)
        assert 0 < f(x) < 1
    assert f(0.5) == 0.5
    assert all(low <= high + 1e-12 for low, high in pairwise(map(f, grid)))


def test_isotonic_keeps_away_from_certainty() -> None:
    """100 prompts, the AI always right: 1/(2·100 + 2) from 0 and 1."""
    f = fit([0.6, 0.4] * 50, [1.0, 0.0] * 50, [str(i) for i in range(100)], "isotonic")
    assert (f(0.6), f(0.99)) == (pytest.approx(1 - 1 / 202), pytest.approx(1 - 1 / 202))


@pytest.mark.parametrize("method", METHODS)
def test_cross_validation_sees_the_gain(method: Method) -> None:
    scores = cross_validated(*overlap(1000, 1 / 3, 2), method)
    assert scores["log_loss/gain"].low > 0
    assert scores["log_loss/gain"].n == 500
    assert scores["log_loss/gain"].value == pytest.approx(
        scores["log_loss/before"].value - scores["log_loss/after"].value
    )
    assert scores["ece/after"].value < scores["ece/before"].value / 2
    assert set(scores) == {
        f"{metric}/{when}" for metric in ("log_loss", "ece", "accuracy") for when in ("before", "after")
    } | {"log_loss/gain"}


def test_cross_validation_shows_where_there_is_none() -> None:
    """Calibrated labels, few pairs: isotonic fits noise, and its gain says so."""
    gains = [cross_validated(*overlap(200, 1.0, seed), "isotonic")["log_loss/gain"] for seed in range(5)]
    assert all(gain.low < 0 for gain in gains)
    assert np.mean([gain.value for gain in gains]) < 0


def test_a_prompt_is_never_in_both_halves() -> None:
    """One prompt has 200 pairs on which the AI is wrong; on 20 others it is right. Nobody sees it coming."""
    p, human = [0.9] * 220, [0.0] * 200 + [1.0] * 20
    groups = ["odd"] * 200 + [f"p{i}" for i in range(20)]
    after = cross_validated(p, human, groups, "temperature")["log_loss/after"]
    least = -math.log(0.5 / (20 * 3 / 5 + 1))  # what 12 or more right answers and half a vote against give
    assert after.value > least * 200 / 220


def test_folds_follow_from_the_prompts_alone() -> None:
    p, human, groups = overlap(200, 1.0, 3)
    one = cross_validated(p, human, groups, "temperature")
    order = np.random.default_rng(0).permutation(200)
    other = cross_validated(
        [p[i] for i in order], [human[i] for i in order], [groups[i] for i in order], "temperature"
    )
    assert one["log_loss/after"].value == pytest.approx(other["log_loss/after"].value, abs=1e-9)


def themed(wrong: float, seed: int, per_theme: int = 150) -> tuple[list[float], ...]:
    """A calibrated labeler over five themes that says the opposite on a share ``wrong`` of privacy."""
    draw = np.random.default_rng(seed)
    keys = [theme for theme in THEMES for _ in range(per_theme)]
    logits = draw.normal(0, 2.5, size=len(keys))
    votes = (draw.random(len(keys)) < sigmoid(logits)).astype(float)
    turned = np.array([key == "privacy" for key in keys]) & (draw.random(len(keys)) < wrong)
    p = sigmoid(np.where(turned, -logits, logits))
    return p.tolist(), votes.tolist(), [f"q{i}" for i in range(len(keys))], keys  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(5))
def test_the_theme_on_which_a_fifth_is_wrong_is_found_and_no_other(seed: int) -> None:
    p, human, groups, keys = themed(0.2, seed)
    found = fit_by(p, human, groups, "temperature", keys)  # type: ignore[arg-type]
    assert set(found.own) == {"privacy"}
    assert found.own["privacy"].slope is not None
    assert 0 < found.own["privacy"].slope < 0.75
    assert found.shared.slope == pytest.approx(1, abs=0.25)
    assert found(0.9, "privacy") < found(0.9, "theft") == found.shared(0.9)
    assert set(found.slopes) == set(THEMES)
    assert found.slopes["privacy"].high < found.slopes["theft"].value


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    """At the 5 % level over all themes: at most 3 of 20 worlds, which chance exceeds in 1.6 % of cases."""
    worlds = [themed(0.0, seed) for seed in range(100, 120)]
    false = [bool(fit_by(p, h, g, "temperature", k).own) for p, h, g, k in worlds]  # type: ignore[arg-type]
    assert sum(false) <= 3


def test_a_labeler_that_is_mostly_wrong_on_a_theme_is_turned_round() -> None:
    p, human, groups, keys = themed(0.9, 1)
    found = fit_by(p, human, groups, "temperature", keys)  # type: ignore[arg-type]
    assert set(found.own) == {"privacy"}
    temperature = found.own["privacy"].temperature
    assert temperature is not None
    assert temperature < 0
    assert found(0.9, "privacy") < 0.5 < found(0.9, "theft")
    shared = cross_validated(p, human, groups, "temperature")  # type: ignore[arg-type]
    by_key = cross_validated(p, human, groups, "temperature", keys=keys)  # type: ignore[arg-type]
    assert by_key["accuracy/after"].value > shared["accuracy/after"].value + 0.08
    assert by_key["log_loss/gain"].low > shared["log_loss/gain"].value


def test_a_key_with_few_prompts_uses_the_shared_one() -> None:
    p, human, groups, keys = themed(0.2, 0)
    keys = ["rare" if i < 10 else key for i, key in enumerate(keys)]  # type: ignore[assignment]
    found = fit_by(p, human, groups, "temperature", keys)  # type: ignore[arg-type]
    assert found.too_few == ("rare",)
    assert found(0.8, "rare") == found(0.8, "never seen") == found.shared(0.8)


def test_a_theme_on_which_the_ai_was_always_right_is_no_outlier_for_that() -> None:
    p, human, groups = overlap(200, 1.0, 4)
    right = [0.9, 0.1] * 12
    found = fit_by(
        [*p, *right],
        [*human, *map(round, right)],
        [*groups, *(f"r{i}" for i in range(24))],
        "temperature",
        ["rest"] * 200 + ["right"] * 24,
    )
    assert not found.own


@pytest.mark.parametrize(
    ("p", "human", "groups", "method", "message"),
    [
        ([0.7] * 19, [1.0] * 19, [str(i) for i in range(19)], "temperature", "20 prompts; there are 19"),
        ([0.7] * 90, [1.0] * 90, ["one"] * 90, "temperature", "20 prompts; there are 1"),
        ([0.7] * 99, [1.0] * 99, [str(i) for i in range(99)], "isotonic", "100 prompts; there are 99"),
        ([0.5] * 30, [1.0] * 30, [str(i) for i in range(30)], "temperature", "every AI label"),
        ([1.5] * 30, [1.0] * 30, [str(i) for i in range(30)], "temperature", "AI label is 1.5"),
        ([0.5] * 30, [math.nan] * 30, [str(i) for i in range(30)], "temperature", "vote is nan"),
        ([0.5] * 30, [1.0] * 29, [str(i) for i in range(30)], "temperature", "30 AI labels, 29 votes"),
        ([], [], [], "temperature", "there are 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    p: list[float], human: list[float], groups: list[str], method: Method, message: str
) -> None:
    with pytest.raises(CaiError, match=message):
        fit(p, human, groups, method)
    with pytest.raises(CaiError, match=message):
        cross_validated(p, human, groups, method)


def test_certain_labels_are_no_trouble() -> None:
    human = [1.0] * 25 + [0.0] * 5
    f = fit([1.0] * 30, human, [str(i) for i in range(30)], "temperature")
    assert f(1.0) == pytest.approx((25 + 0.5) / 31, abs=1e-6)
    assert f(0.0) == pytest.approx(1 - f(1.0))
