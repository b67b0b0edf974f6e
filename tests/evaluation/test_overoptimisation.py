"""The watch on proxy and gold: points with intervals, and when gold has turned down."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest

from cai.evaluation.overoptimisation import Point, point, row, turned_down
from cai.pipeline.steps.watch import carried
from cai.values.types import Score


def at(step: int, gold: float | None, spread: float = 0.05) -> Point:
    score = None if gold is None else Score(gold, gold - spread, gold + spread, 10)
    return Point("ppo", step, 0.5 * step, Score(step, step, step, 10), score)


def test_a_point_is_two_means_with_intervals() -> None:
    p = point("ppo", 3, 4.0, [1.0, 2.0, 3.0], [0.0, 1.0, 1.0])
    assert p is not None and p.gold is not None
    assert (p.root_kl, p.proxy.value, p.proxy.n) == (2.0, 2.0, 3)
    half = 4.302652729911275 * 1.0 / math.sqrt(3)  # Student's t, 2 degrees of freedom, 97.5 %
    assert p.proxy.high == pytest.approx(2.0 + half)
    assert row(p)["gold_value"] == pytest.approx(2 / 3)
    assert point("ppo", 0, 0.0, [1.0], None) is None
    bare = point("ppo", 0, -0.1, [1.0, 2.0], None)
    assert bare is not None and bare.root_kl == 0.0 and row(bare)["gold_low"] is None


def test_a_row_says_what_its_kl_is_and_how_sure() -> None:
    gold = Score(0.9, 0.8, 1.0, 50)
    dpo = row(Point("dpo", 24, 4.0, None, gold, kl_spread=Score(4.0, 3.5, 4.5, 50)))
    names = ("method", "step", "kl", "kl_low", "kl_high", "kl_n", "kl_is", "root_kl")
    assert [dpo[name] for name in names] == ["dpo", 24, 4.0, 3.5, 4.5, 50, "estimate", 2.0]
    assert dpo["proxy_value"] is None and dpo["gold_value"] == 0.9  # a held-out reward, and no reward model
    best = row(replace(at(8, 0.9), method="best-of-n", bound=True))
    assert best["kl_is"] == "bound" and best["kl_low"] is None
    assert list(best) == list(dpo) == list(row(at(0, None)))


def test_gold_has_turned_down_when_the_intervals_part() -> None:
    rising = [at(0, 0.5), at(1, 0.7), at(2, 0.8)]
    assert turned_down(rising) is None
    assert turned_down([*rising, at(3, 0.75)]) is None  # lower, but within the intervals
    fallen = [*rising, at(3, 0.75), at(4, 0.6), at(5, 0.2)]
    found = turned_down(fallen[::-1])
    assert found is not None and found.step == 4
    assert turned_down([at(0, None), at(1, None)]) is None


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_gold_is_carried_along_in_the_order_of_the_proxy(k: int) -> None:
    gold = [0.3, 1.0, 0.0, 0.7, 0.2]
    subsets = list(combinations(range(5), k))
    assert carried(gold, k) == pytest.approx(sum(gold[max(s)] for s in subsets) / len(subsets))
