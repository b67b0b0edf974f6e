"""What could be reached on soft labels, and what was, against hand-worked numbers and simulation."""

from __future__ import annotations

import math
import random

import pytest

from cai.statistics.clusters import weighted_share
from cai.statistics.prediction import PairScore, accuracy, log_loss
from cai.statistics.soft_labels import soft_scores


def pair(number: int, p: float, margin: float, prompt: str = "") -> PairScore:
    return PairScore(f"c{number}", prompt or f"p{number}", "ai", (), p, margin)


def test_by_hand() -> None:
    pairs = [pair(0, 0.9, 2.0), pair(1, 0.45, 1.0), pair(2, 0.2, -1.0), pair(3, 0.5, 1.0)]
    found = soft_scores(pairs)
    # Stakes 0.8, 0.1, 0.6, 0; the second is wrong.
    assert found["accuracy_weighted"].value == pytest.approx(1.4 / 1.5)
    assert found["accuracy_weighted"].n == 3
    assert found["accuracy_sure"].value == 1.0 and found["accuracy_sure"].n == 2
    assert found["accuracy_ceiling"].value == pytest.approx((0.9 + 0.55 + 0.8) / 3)
    assert found["accuracy_weighted_ceiling"].value == pytest.approx(
        (0.8 * 0.9 + 0.1 * 0.55 + 0.6 * 0.8) / 1.5
    )
    loss = log_loss(pairs)
    assert loss is not None
    assert found["log_loss_floor"].value + found["log_loss_excess"].value == pytest.approx(loss.value)
    assert found["log_loss_floor"].high <= math.log(2)


def test_a_perfect_model_of_the_labels_has_no_excess_and_the_whole_stake() -> None:
    pairs = [pair(i, p, math.log(p / (1 - p))) for i, p in enumerate((0.9, 0.3, 0.52, 0.48))]
    found = soft_scores(pairs)
    assert found["log_loss_excess"].value == pytest.approx(0.0, abs=1e-12)
    assert found["accuracy_weighted"].value == pytest.approx(1.0)
    assert found["accuracy_weighted"].low < 1.0  # four pairs prove little


def test_the_ceiling_is_what_a_reward_reaches_that_knows_the_truth() -> None:
    """Labels next to a tie, as a noisy labeler's: the truth is on their side as often as they say."""
    rng = random.Random(0)
    pairs = []
    for i in range(20_000):
        p = min(0.999, max(0.001, rng.gauss(0.5, 0.06)))
        truth = 1.0 if rng.random() < p else -1.0
        pairs.append(pair(i, p, truth))
    found, plain = soft_scores(pairs), accuracy(pairs)
    assert plain is not None and plain.value < 0.57  # reads as a coin
    assert found["accuracy_ceiling"].value == pytest.approx(plain.value, abs=0.01)
    assert found["accuracy_weighted_ceiling"].value == pytest.approx(
        found["accuracy_weighted"].value, abs=0.02
    )


def test_nothing_of_nothing_and_ties_have_no_stake() -> None:
    assert soft_scores([]) == {}
    found = soft_scores([pair(0, 0.5, 1.0), pair(1, 0.5, -1.0)])
    assert set(found) == {"log_loss_floor", "log_loss_excess"}


def test_weighted_shares_cover_between_clusters() -> None:
    rng = random.Random(1)
    hits = 0
    for _ in range(600):
        shares, weights, clusters = [], [], []
        for cluster in range(40):
            truth = rng.betavariate(4, 1)  # mean 0.8
            for _ in range(3):
                shares.append(float(rng.random() < truth))
                weights.append(rng.random())
                clusters.append(cluster)
        score = weighted_share(shares, weights, clusters)
        assert score is not None and score.n == 40
        hits += score.low <= 0.8 <= score.high
    assert hits / 600 > 0.92
    assert weighted_share([1.0], [0.0], ["a"]) is None
    equal = weighted_share([1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1, 2, 3])
    assert equal is not None and equal.value == pytest.approx(2 / 3)
