"""Intervals against hand-worked and published values."""

from __future__ import annotations

import random

import pytest

from cai.statistics.intervals import mean, proportion


def test_wilson_by_hand() -> None:
    # 8 of 10 at 95 %: centre (0.8 + 1.9208/10) / (1 + 3.8416/10), half width from the same formula.
    score = proportion([True] * 8 + [False] * 2)
    assert score is not None
    assert (score.value, score.n) == (0.8, 10)
    assert score.low == pytest.approx(0.4902, abs=1e-4)
    assert score.high == pytest.approx(0.9433, abs=1e-4)


@pytest.mark.parametrize("outcome", [True, False])
def test_all_or_none_still_has_width(outcome: bool) -> None:
    score = proportion([outcome] * 20)
    assert score is not None
    assert score.high - score.low == pytest.approx(0.1611, abs=1e-4)  # 3.8416 / (20 + 3.8416)


def test_nothing_is_no_score() -> None:
    assert proportion([]) is None
    assert mean([]) is None


def test_mean_by_hand() -> None:
    # 0.2, 0.4, 0.6: standard deviation 0.2, error 0.2/√3, t(0.975, 2) = 4.3027.
    score = mean([0.2, 0.4, 0.6])
    assert score is not None
    assert score.value == pytest.approx(0.4)
    assert score.low == 0.0  # 0.4 - 0.497, cut
    assert score.high == pytest.approx(0.4 + 4.3027 * 0.2 / 3**0.5, abs=1e-4)


def test_mean_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = random.Random(3)
    scores = [mean([draw.betavariate(2, 5) for _ in range(60)]) for _ in range(1000)]
    hits = sum(score is not None and score.low <= 2 / 7 <= score.high for score in scores)
    assert 929 <= hits <= 971  # 950 ± 3 standard deviations


def test_mean_of_one_value_knows_nothing_about_its_spread() -> None:
    assert mean([0.7]) is not None
    score = mean([0.7])
    assert score is not None
    assert (score.low, score.high, score.n) == (0.0, 1.0, 1)
