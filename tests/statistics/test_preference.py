"""Accuracy, log-loss and calibration of a reward model against hand-worked numbers."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import count

import pytest

from cai.statistics import intervals as stats
from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.statistics.prediction import PairScore, accuracy, calibration_error, log_loss, scores


def logit(q: float) -> float:
    return math.log(q / (1 - q))


NUMBERS = count()


def pair(p: float, q: float, prompt: str = "", source: str = "ai", about: tuple[str, ...] = ()) -> PairScore:
    name = f"c{next(NUMBERS)}"
    return PairScore(name, prompt or name, source, about, p, logit(q))


FOUR = [pair(0.9, 0.8), pair(0.2, 0.4), pair(0.6, 0.3), pair(0.5, 0.9)]


def test_accuracy_leaves_ties_of_the_label_out() -> None:
    score = accuracy(FOUR)  # right, right, wrong, tie
    assert score is not None
    assert (score.value, score.n) == (pytest.approx(2 / 3), 3)
    plain = stats.proportion([True, True, False])
    assert plain is not None
    assert (score.low, score.high) == (pytest.approx(plain.low), pytest.approx(plain.high))
    assert accuracy([pair(0.5, 0.9)]) is None


def test_a_tie_of_the_model_is_a_miss() -> None:
    score = accuracy([pair(0.9, 0.5)])
    assert score is not None and score.value == 0.0


def test_log_loss_by_hand() -> None:
    # -0.9 ln 0.8 - 0.1 ln 0.2 = 0.361773; -0.2 ln 0.4 - 0.8 ln 0.6 = 0.591919: mean 0.476846.
    # Difference to the mean 0.115073: standard deviation 0.162738, error 0.115073, t(0.975, 1) = 12.7062.
    score = log_loss(FOUR[:2])
    assert score is not None
    assert (score.value, score.n) == (pytest.approx(0.476846, abs=1e-6), 2)
    assert score.low == 0.0  # 0.477 - 1.462, cut
    assert score.high == pytest.approx(0.476846 + 12.7062 * 0.115073, abs=1e-4)


def test_log_loss_of_huge_margins_is_finite() -> None:
    score = log_loss([replace(FOUR[0], margin=-2000.0), replace(FOUR[1], margin=2000.0)])
    assert score is not None and score.value == pytest.approx((0.9 + 0.8) * 1000)


def test_calibration_error_by_hand() -> None:
    # Confidence and label of what the model prefers: (0.83, 1), (0.83, 0), (0.83, 1), (0.62, 0.5).
    # Bins of width 0.05: three pairs in [0.80, 0.85): label 2/3 against 0.83; one in [0.60, 0.65).
    # (3 * |0.6667 - 0.83| + |0.5 - 0.62|) / 4 = (0.49 + 0.12) / 4 = 0.1525
    four = [pair(1.0, 0.83), pair(1.0, 0.17), pair(0.0, 0.17), pair(0.5, 0.62)]
    score = calibration_error(four)
    assert score is not None
    assert (score.value, score.n) == (pytest.approx(0.1525), 4)
    assert 0.0 == score.low < score.high <= 1.0


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large() -> None:
    draw = random.Random(0)
    calibrated, bold = [], []
    for _ in range(4000):
        q = draw.random()
        label = float(draw.random() < q)
        calibrated.append(pair(label, q))
        bold.append(replace(calibrated[-1], margin=3 * logit(q)))
    good, bad = calibration_error(calibrated), calibration_error(bold)
    assert good is not None and bad is not None
    assert good.value < 0.03 and bad.low > 0.08


def test_exchanging_a_and_b_changes_nothing() -> None:
    draw = random.Random(1)
    pairs = [pair(draw.random(), draw.uniform(0.01, 0.99)) for _ in range(50)]
    swapped = [replace(one, p=1 - one.p, margin=-one.margin) for one in pairs]
    first, second = scores(pairs), scores(swapped)
    assert first.keys() == second.keys()
    for name, score in first.items():
        assert second[name].value == pytest.approx(score.value), name
        assert second[name].high == pytest.approx(score.high), name


def test_groups_by_source_and_by_every_principle() -> None:
    pairs = [
        pair(0.9, 0.8, source="judge/1", about=("kind", "safe")),
        pair(0.9, 0.2, source="judge/1", about=("kind", "kind")),
        pair(0.9, 0.8, source="anna"),
    ]
    found = scores(pairs)
    assert found["accuracy"].n == 3
    assert (found["accuracy/source/judge/1"].value, found["accuracy/source/judge/1"].n) == (0.5, 2)
    assert found["accuracy/principle/kind"].n == 2 and found["accuracy/principle/safe"].value == 1.0
    assert "log_loss/source/anna" not in found  # a single value has no interval
    assert found["log_loss/principle/kind"].n == 2
    assert scores([]) == {}


def test_pairs_of_one_prompt_are_one_unit() -> None:
    """Every pair three times under its prompt: the interval is about the same as once."""
    draw = random.Random(2)
    once = [pair(1.0, 0.8 if draw.random() < 0.7 else 0.3, prompt=f"p{i}") for i in range(10)]
    thrice = [one for one in once for _ in range(3)]
    for measure in (accuracy, log_loss, calibration_error):
        first, second = measure(once), measure(thrice)
        assert first is not None and second is not None
        assert second.n == first.n == 10
        assert (second.low, second.high) == (
            pytest.approx(first.low, abs=0.03),
            pytest.approx(first.high, abs=0.03),
        )


def test_clustered_mean_of_clusters_of_one_is_the_usual_interval() -> None:
    values = [0.42, 0.4, 0.6, 0.55]
    ours, plain = clustered_mean(values, range(4)), stats.mean(values)
    assert ours is not None and plain is not None
    assert (ours.low, ours.high) == (pytest.approx(plain.low), pytest.approx(plain.high))
    assert clustered_mean([], []) is None and clustered_mean([3.0, 4.0], ["p", "p"]) is None
    single = clustered_mean([0.3], ["p"], low=0.0, high=1.0)
    assert single is not None and (single.low, single.high) == (0.0, 1.0)


def test_a_clustered_proportion_covers_the_truth_about_as_often_as_it_says() -> None:
    """Clusters of four whose members mostly agree: Wilson over 80 outcomes would cover far less."""
    draw = random.Random(3)
    hits = naive = 0
    for _ in range(1000):
        rates = [draw.betavariate(1.4, 0.6) for _ in range(20)]
        outcomes = [draw.random() < rate for rate in rates for _ in range(4)]
        score = clustered_proportion(outcomes, [i // 4 for i in range(80)])
        plain = stats.proportion(outcomes)
        assert score is not None and plain is not None
        hits += score.low <= 0.7 <= score.high
        naive += plain.low <= 0.7 <= plain.high
    assert hits >= 920 > naive


def test_all_alike_still_has_width() -> None:
    score = clustered_proportion([True] * 40, [i // 4 for i in range(40)])
    plain = stats.proportion([True] * 10)
    assert score is not None and plain is not None
    assert score.low == pytest.approx(plain.low)
