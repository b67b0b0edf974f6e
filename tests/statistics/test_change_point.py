"""The scan for a fall that lasts: what it says of series whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from cai.statistics.change_point import lasting_fall


@pytest.mark.parametrize("n", [2, 4, 12, 30, 100])
def test_flat_series_raise_at_most_the_stated_false_alarms(n: int) -> None:
    rng = np.random.default_rng(n)
    alarms = sum(lasting_fall(rng.normal(0, 1, n).tolist(), [1.0] * n) is not None for _ in range(400))
    assert alarms <= 34  # P(more than 34 of 400) at 5 % is 0.001


def test_a_rising_series_raises_fewer() -> None:
    rng = np.random.default_rng(0)
    series = [(np.linspace(0, 2, 30) + rng.normal(0, 1, 30)).tolist() for _ in range(200)]
    assert sum(lasting_fall(y, [1.0] * 30) is not None for y in series) <= 10


def test_a_long_series_is_looked_at_in_blocks() -> None:
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(1, 1, 700), rng.normal(0, 1, 300)])
    change = lasting_fall(y.tolist(), [1.0] * 1000)
    assert change is not None and abs(change.last - 700) <= 16
    flat = [rng.normal(0, 1, 1000).tolist() for _ in range(100)]
    assert sum(lasting_fall(y, [1.0] * 1000) is not None for y in flat) <= 12  # P(more) at 5 % is 0.0015


def test_a_step_down_is_found_where_it_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        y = np.concatenate([rng.normal(3, 1, 20), rng.normal(0, 1, 10)])
        change = lasting_fall(y.tolist(), [1.0] * 30)
        assert change is not None and abs(change.last - 20) <= 2
        assert 2.0 < change.fall < 4.5


def test_a_series_that_jumps_more_than_its_errors_say_is_judged_by_its_jumps() -> None:
    rng = np.random.default_rng(0)
    alarms = sum(lasting_fall(rng.normal(0, 1, 30).tolist(), [0.05] * 30) is not None for _ in range(200))
    assert alarms <= 34  # the jumps of 30 values tell the deviation roughly: no more than 17 % instead of 5 %


def test_what_is_known_exactly_and_what_is_too_short() -> None:
    assert lasting_fall([1.0], [0.1]) is None
    assert lasting_fall([], []) is None
    assert lasting_fall([1.0, 1.0, 1.0], [0.0] * 3) is None
    change = lasting_fall([1.0, 1.0, 0.5], [0.0] * 3)
    assert change is not None and (change.first, change.last) == (0, 2)
