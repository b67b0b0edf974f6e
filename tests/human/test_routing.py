"""Signals by hand, the order that follows from them, and the queue of a run folder."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_votes import label, pair, vote

from cai.data import tables
from cai.human.mixing.routing import RANDOM, entropy, route, signals, stake
from cai.human.pairs import pair_key
from cai.pipeline.steps.route import describe, write_queue
from cai.run.folder import RunFolder
from cai.values.errors import UsageError
from cai.values.types import Comparison, Judgement, Message, Preference, Prompt, Source

AI = Source("ai", "m")


def test_entropy_in_bits() -> None:
    assert entropy(0.5) == 1.0
    assert entropy(0.0) == entropy(1.0) == 0.0
    assert entropy(0.25) == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))


def test_signals_by_hand() -> None:
    judgements = (Judgement("kind", 0.9, 0.5), Judgement("true", 0.4, 0.2))
    found = signals(Preference(pair(1), 0.5, AI, judgements), margin=math.log(3))
    assert found == {
        "entropy": 1.0,
        "order": pytest.approx(0.4),
        "principles": pytest.approx(0.2),  # 0.7 and 0.3 around 0.5
        "reward": pytest.approx(-0.5 * math.log2(0.75) - 0.5 * math.log2(0.25)),
    }


def test_what_was_not_measured_is_not_a_signal() -> None:
    assert signals(label(pair(1), 0.9)).keys() == {"entropy"}
    assert signals(Preference(pair(1), None, AI, (), "unreadable")) == {}


def test_unscored_pairs_come_first_and_the_surest_last() -> None:
    labels = [label(pair(1), 0.99), label(pair(2), 0.6), Preference(pair(3), None, AI, (), "unreadable")]
    queue = route(labels, 3, seed=0, explore=0.0)
    assert [(q.comparison.id, q.reason) for q in queue] == [
        ("c3", "unscored"),
        ("c2", "entropy"),
        ("c1", "entropy"),
    ]
    assert [q.rank for q in queue] == [0, 1, 2]
    assert queue[0].score == 1.0 > queue[1].score > queue[2].score


def test_a_reward_model_that_contradicts_a_sure_label_brings_it_up() -> None:
    labels = [label(pair(n), 0.95) for n in range(20)]
    margins = {f"c{n}": 2.9 for n in range(20)} | {"c7": -4.0}
    first = route(labels, 1, seed=0, explore=0.0, margins=margins)[0]
    assert (first.comparison.id, first.reason) == ("c7", "reward")


def test_a_label_that_follows_the_position_comes_up() -> None:
    labels = [label(pair(n), 0.9, 0.9) for n in range(20)] + [label(pair(99), 1.0, 0.8)]
    first = route(labels, 1, seed=0, explore=0.0)[0]
    assert (first.comparison.id, first.reason) == ("c99", "order")


def test_pairs_alike_do_not_fill_the_queue() -> None:
    def about(number: int, text: str, p: float) -> Preference:
        comparison = Comparison(
            f"c{number}", Prompt(f"p{number}", (Message("user", text),)), f"yes {number}", "no"
        )
        return label(comparison, p)

    alike = [about(n, "How do I open the old shed behind the house?", 0.5 + n / 1000) for n in range(5)]
    other = [about(9, "Write a poem on winter.", 0.56)]
    sure = [about(n, f"Question {n}?", 0.99 + n / 10_000) for n in range(10, 40)]
    ids = [q.comparison.id for q in route([*alike, *other, *sure], 2, seed=0, explore=0.0)]
    assert ids == ["c0", "c9"]


def test_a_share_is_drawn_at_random_and_nothing_twice() -> None:
    labels = [label(pair(n), 0.5 + n / 300) for n in range(100)]
    queue = route(labels, 40, seed=0, explore=0.25)
    assert [q.reason for q in queue].count(RANDOM) == 10
    assert len({q.comparison.id for q in queue}) == 40
    assert queue == route(labels, 40, seed=0, explore=0.25)
    other = route(labels, 40, seed=1, explore=0.25)
    assert queue[:30] == other[:30]
    assert queue[30:] != other[30:]


def test_judged_pairs_are_not_asked_again() -> None:
    labels = [label(pair(n), 0.6) for n in range(3)]
    seen = {pair_key(pair(n).swap()) for n in (0, 2)}
    assert [q.comparison.id for q in route(labels, 9, seed=0, seen=seen)] == ["c1"]
    with pytest.raises(UsageError, match="no pair is left"):
        route(labels[:1], 9, seed=0, seen=seen)


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=30),
    st.integers(1, 40),
    st.floats(0, 1),
)
def test_the_budget_is_kept(values: list[float | None], budget: int, explore: float) -> None:
    labels = [
        Preference(pair(n), p, AI, (Judgement("kind", p, None),), None if p is not None else "unreadable")
        for n, p in enumerate(values)
    ]
    queue = route(labels, budget, seed=0, explore=explore)
    assert len(queue) == min(budget, len(labels))
    assert len({q.comparison.id for q in queue}) == len(queue)
    assert all(0 <= q.score <= 1 for q in queue)


def test_the_queue_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}\n")
    (tmp_path / "manifest.json").write_text("{}\n")
    folder = RunFolder(tmp_path)
    folder.write_table("preferences", map(tables.preference_row, [label(pair(n), 0.6) for n in range(8)]))
    folder.write_table("human", [tables.preference_row(vote(pair(3), "x", 1.0))])
    queue = write_queue(tmp_path, budget=5, explore=0.2, seed=0)
    assert (queue.labels, queue.judged, queue.queued) == (8, 1, 5)
    assert queue.reasons == {"entropy": 4, RANDOM: 1}
    rows = folder.read_table("queue", dict)
    assert [row["rank"] for row in rows] == list(range(5))
    assert "c3" not in {row["id"] for row in rows}
    assert describe(queue, tmp_path)[0] == "5 of 8 pairs are queued; people had judged 1"
    with pytest.raises(UsageError, match="--budget"):
        write_queue(tmp_path, budget=0, explore=0.2, seed=0)
    with pytest.raises(UsageError, match="not a run folder"):
        write_queue(tmp_path / "none", budget=5, explore=0.2, seed=0)


def test_a_pair_whose_responses_hardly_differ_stands_back() -> None:
    """Both labels are 0.5. One because the principles contradict each other, one because nothing differs."""

    def judged(number: int, *p: float) -> Preference:
        judgements = tuple(Judgement(f"k{i}", value, value) for i, value in enumerate(p))
        return Preference(pair(number), sum(p) / len(p), AI, judgements)

    sure = [judged(n, 0.95, 0.9 + n / 1000) for n in range(20)]
    queue = route([judged(98, 0.5, 0.5), judged(99, 0.98, 0.02), *sure], 22, seed=0, explore=0.0)
    order = [q.comparison.id for q in queue]
    assert order[0] == "c99"
    assert order[-1] == "c98"
    assert stake(judged(98, 0.5, 0.5)) == 0.0
    assert stake(judged(99, 0.98, 0.02)) == pytest.approx(0.96)
    assert stake(label(pair(1), 0.9)) is None
    assert stake(label(pair(1), 0.6), margin=math.log(9)) == pytest.approx(0.8)
