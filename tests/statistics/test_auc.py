"""The area under the ROC curve and its interval."""

from __future__ import annotations

import math
import random

import pytest

from cai.statistics.auc import auc, newcombe


def test_the_area_by_hand() -> None:
    # True items at 0.9 and 0.4, false ones at 0.4 and 0.1: of four pairs three are right and one is a tie.
    score = auc([True, True, False, False], [0.9, 0.4, 0.4, 0.1], "abcd")
    assert score is not None
    assert score.value == pytest.approx(3.5 / 4) and score.n == 4


@pytest.mark.parametrize("labels", [[], [True, True], [False]])
def test_one_sort_of_items_has_no_area(labels: list[bool]) -> None:
    assert auc(labels, [0.5] * len(labels), range(len(labels))) is None


def test_the_limits_solve_newcombe_s_equation() -> None:
    area, m, n = 0.8, 12, 20
    for limit in newcombe(area, m, n):
        q1, q2 = limit / (2 - limit), 2 * limit**2 / (1 + limit)  # Hanley and McNeil 1982
        middle = (m + n) / 2 - 1
        variance = limit * (1 - limit) + middle * (q1 - limit**2) + middle * (q2 - limit**2)
        assert abs(area - limit) == pytest.approx(1.959964 * math.sqrt(variance / (m * n)), rel=1e-5)


def test_limits_at_the_ends() -> None:
    low, high = newcombe(1.0, 30, 30)
    assert high == 1.0 and 0.85 < low < 0.999
    assert newcombe(0.0, 30, 30) == pytest.approx((0.0, 1 - low))
    # One item of each sort is a single comparison: Wilson's interval of 1 in 1.
    assert newcombe(1.0, 1, 1)[0] == pytest.approx(1 / (1 + 1.959964**2), rel=1e-5)


def test_answers_to_one_prompt_do_not_narrow_the_interval() -> None:
    labels, scores = [True, False] * 5, [0.9, 0.2, 0.8, 0.7, 0.6, 0.1, 0.4, 0.5, 0.95, 0.3]
    once = auc(labels, scores, range(10))
    thrice = auc(labels * 3, scores * 3, [*range(10)] * 3)
    assert once == thrice


def test_the_interval_covers() -> None:
    """P(N(1, 1) > N(0, 1)) is Φ(1/√2); 20 true and 20 false items, 400 times."""
    rng, area = random.Random(0), 0.5 * (1 + math.erf(0.5))
    labels = [True] * 20 + [False] * 20
    hits = 0
    for _ in range(400):
        score = auc(labels, [rng.gauss(float(label), 1) for label in labels], range(40))
        assert score is not None
        hits += score.low <= area <= score.high
    assert 0.92 <= hits / 400 <= 0.98
