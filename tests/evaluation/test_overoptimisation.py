"""The watch on proxy and gold: points with intervals, and when gold has turned down."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from cai.evaluation.overoptimisation import Point, Rated, point, row, turned_down
from cai.pipeline.steps.watch import carried
from cai.values.types import Score


def at(step: int, gold: float | None, spread: float = 0.05) -> Point:
    score = None if gold is None else Score(gold, gold - spread, gold + spread, 10)
    return Point("ppo", step, 0.5 * step, Score(step, step, step, 10), score)


def rated(proxy: list[float], gold: list[float] | None = None, group: int = 1) -> list[Rated]:
    golds: list[float | None] = [*gold] if gold else [None] * len(proxy)
    return [Rated(str(i // group), p, g) for i, (p, g) in enumerate(zip(proxy, golds, strict=True))]


def test_a_point_is_two_means_with_intervals() -> None:
    p = point("ppo", 3, 4.0, rated([1.0, 2.0, 3.0], [0.5, 1.0, 1.5]))
    assert p is not None and p.gold is not None and p.proxy is not None
    assert (p.root_kl, p.proxy.value, p.proxy.n) == (2.0, 2.0, 3)
    half = 4.302652729911275 * 1.0 / math.sqrt(3)  # Student's t, 2 degrees of freedom, 97.5 %
    assert p.proxy.high == pytest.approx(2.0 + half)
    assert row(p)["gold_value"] == pytest.approx(1.0)
    assert row(p)["gold_deviation"] == pytest.approx(math.sqrt(1 / 6))
    assert point("ppo", 0, 0.0, rated([1.0])) is None
    bare = point("ppo", 0, -0.1, rated([1.0, 2.0]))
    assert bare is not None and bare.root_kl == 0.0 and row(bare)["gold_low"] is None


def test_gold_of_verdicts_is_a_share_and_responses_to_one_prompt_are_one_unit() -> None:
    ones = point("ppo", 0, 0.0, rated([1.0] * 64, [1.0] * 64))
    assert ones is not None and ones.gold is not None
    assert ones.gold.low == pytest.approx(1 / (1 + 1.959964**2 / 64), abs=1e-4)  # Wilson's, of 64 of 64
    gold = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0] * 4
    alone, grouped = (point("grpo", 0, 0.0, rated([1.0, 2.0] * 16, gold, group)) for group in (1, 4))
    assert alone is not None and grouped is not None and alone.gold is not None and grouped.gold is not None
    assert (alone.gold.n, grouped.gold.n) == (32, 8)
    assert grouped.gold.high - grouped.gold.low > 1.7 * (alone.gold.high - alone.gold.low)
    assert grouped.proxy is not None and grouped.proxy.n == 8


@pytest.mark.parametrize(("share", "correlation"), [(0.8, 0.8), (0.9, 0.3), (0.95, 0.0)])
def test_the_interval_of_gold_covers_where_responses_to_a_prompt_are_alike(
    share: float, correlation: float
) -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        strength = 1 / correlation - 1 if correlation else 1e9
        p = rng.beta(share * strength, (1 - share) * strength, 24)
        gold = (rng.random((24, 4)) < p[:, None]).astype(float).ravel().tolist()
        found = point("grpo", 0, 0.0, rated([1.0, 2.0] * 48, gold, 4))
        assert found is not None and found.gold is not None
        hits += found.gold.low <= share <= found.gold.high
    assert hits / 400 > 0.91


def test_a_row_says_what_its_kl_is_and_how_sure() -> None:
    gold = Score(0.9, 0.8, 1.0, 50)
    dpo = row(Point("dpo", 24, 4.0, None, gold, kl_spread=Score(4.0, 3.5, 4.5, 50)))
    names = ("method", "step", "kl", "kl_low", "kl_high", "kl_n", "kl_is", "root_kl")
    assert [dpo[name] for name in names] == ["dpo", 24, 4.0, 3.5, 4.5, 50, "estimate", 2.0]
    assert dpo["proxy_value"] is None and dpo["gold_value"] == 0.9  # a held-out reward, and no reward model
    best = row(replace(at(8, 0.9), method="best-of-n", bound=True))
    assert best["kl_is"] == "bound" and best["kl_low"] is None
    assert list(best) == list(dpo) == list(row(at(0, None)))


def test_gold_turns_down_where_a_fall_lasts_to_the_end() -> None:
    rising = [0.5, 0.6, 0.7, 0.75, 0.8, 0.8]
    assert turned_down(course(rising)) is None
    assert turned_down(course([*rising, 0.78])) is None  # lower, but within what chance gives
    assert turned_down(course([*rising, 0.2, 0.8, 0.82])) is None  # a dip that heals
    found = turned_down(course([*rising, 0.6, 0.4, 0.2])[::-1])
    assert found is not None and (found.step, found.best) == (7, 2)
    assert found.fall == pytest.approx((0.7 + 0.75 + 0.8 + 0.8 + 0.6) / 5 - 0.3)
    assert turned_down([at(0, None), at(1, None)]) is None
    assert turned_down([at(0, 0.9)]) is None


@pytest.mark.parametrize(("steps", "prompts", "group"), [(30, 64, 1), (100, 64, 1), (30, 24, 4), (4, 200, 1)])
def test_at_most_one_sound_training_in_twenty_turns_down(steps: int, prompts: int, group: int) -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        p = (
            rng.beta(0.9 * 0.25, 0.1 * 0.25, (steps, prompts))
            if group > 1
            else np.full((steps, prompts), 0.9)
        )
        gold = (rng.random((steps, prompts, group)) < p[:, :, None]).astype(float)
        units = [rated([0.1] * prompts * group, step.ravel().tolist(), group) for step in gold]
        points = [point("ppo", i, float(i), unit) for i, unit in enumerate(units)]
        alarms += turned_down([found for found in points if found is not None]) is not None
    assert alarms <= 10  # P(more than 10 of 100) at 5 % each is 0.011


def course(gold: list[float]) -> list[Point]:
    return [at(step, value) for step, value in enumerate(gold)]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_gold_is_carried_along_in_the_order_of_the_proxy(k: int) -> None:
    gold = [0.3, 1.0, 0.0, 0.7, 0.2]
    subsets = list(combinations(range(5), k))
    assert carried(gold, k) == pytest.approx(sum(gold[max(s)] for s in subsets) / len(subsets))
