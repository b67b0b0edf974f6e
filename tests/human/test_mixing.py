"""Mixtures by hand: every rule, every row accounted for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_votes import label, pair, vote
from scipy.stats import betabinom

from cai.config.run_config import HumanConfig
from cai.human.agreement import raters
from cai.human.agreement.overlap import overlap
from cai.human.mixing.conflicts import prior_strength
from cai.human.mixing.mixture import Mixture, mix
from cai.values.errors import CaiError, UsageError
from cai.values.types import Comparison, Message, Preference, Prompt


def mixed(ai: list[Preference], votes: list[Preference], *held_out: Prompt, **settings: Any) -> Mixture:
    return mix(ai, votes, held_out, HumanConfig(**{"near_duplicates": None, **settings}), seed=7)


def of(mixture: Mixture, kind: str) -> list[Preference]:
    return [row for row in mixture.preferences if row.source.kind == kind]


def tagged(comparison: Comparison, *tags: str) -> Comparison:
    return replace(comparison, prompt=replace(comparison.prompt, tags=tags))


AI = [label(pair(n), 0.8) for n in range(10)]
PEOPLE = [vote(pair(100 + n), "x", 1.0) for n in range(10)]


def test_without_votes_the_labels_are_the_mixture() -> None:
    mixture = mixed(AI, [])
    assert mixture.preferences == tuple(AI)
    assert mixture.counts == {("m", "taken"): 10}


def test_every_row_has_one_fate() -> None:
    unscored = Preference(pair(50), None, AI[0].source, (), "unreadable")
    votes = [*PEOPLE, vote(pair(3), "x", 0.0), vote(pair(4), "x", None)]
    mixture = mixed([*AI, unscored], votes, share=0.5, size=8)
    assert mixture.counts == {
        ("m", "taken"): 4,
        ("m", "no verdict"): 1,
        ("m", "people judged the pair too"): 1,
        ("m", "people found both bad"): 1,
        ("m", "left out to reach the share"): 4,
        ("human", "taken"): 4,
        ("human", "both bad"): 1,
        ("human", "left out to reach the share"): 7,
    }
    assert sum(mixture.counts.values()) == 11 + 12


def test_both_bad_makes_no_pair_and_the_ai_label_makes_none_of_it_either() -> None:
    mixture = mixed(AI, [vote(pair(4), "x", None), vote(pair(4), "y", None)])
    assert mixture.counts == {("human", "both bad"): 1, ("m", "people found both bad"): 1, ("m", "taken"): 9}
    one_saw_a_side = mixed(AI, [vote(pair(4), "x", None), vote(pair(4), "y", 1.0)])
    assert one_saw_a_side.counts["human", "taken"] == 1
    assert one_saw_a_side.counts["m", "people judged the pair too"] == 1


@pytest.mark.parametrize("settings", [{"conflict": "average"}, {"weight": 0.0}, {"by_tag": {"t": "ai"}}])
def test_where_people_do_not_count_both_bad_does_not(settings: dict[str, Any]) -> None:
    ai = [replace(row, comparison=tagged(row.comparison, "t")) for row in AI]
    votes = [vote(tagged(pair(4), "t"), "x", None)]
    assert mixed(ai, votes, **settings).counts == {("human", "both bad"): 1, ("m", "taken"): 10}


def test_a_vote_without_a_side_for_another_reason_has_no_verdict() -> None:
    unrated = replace(vote(pair(4), "x", None), unscored="not rated")
    assert mixed(AI, [unrated]).counts == {("human", "no verdict"): 1, ("m", "taken"): 10}


@pytest.mark.parametrize(
    ("share", "size", "people", "models"),
    [
        (0.0, None, 0, 10),
        (1.0, None, 4, 0),
        (0.5, None, 4, 4),
        (0.3, None, 4, 9),  # 4 / 0.3 = 13.3 rows; 9.3 of them from the AI
        (0.1, None, 1, 10),  # 10 / 0.9 = 11.1 rows
        (0.3, 10, 3, 7),
        (0.3, 1000, 4, 9),
        (None, None, 4, 10),
    ],
)
def test_the_share_is_reached_by_leaving_out(
    share: float | None, size: int | None, people: int, models: int
) -> None:
    mixture = mixed(AI, PEOPLE[:4], share=share, size=size)
    assert (len(of(mixture, "human")), len(of(mixture, "ai"))) == (people, models)
    assert len({row.comparison.id for row in mixture.preferences}) == people + models


def test_the_same_seed_draws_the_same_rows_and_another_seed_others() -> None:
    def drawn(seed: int) -> list[str]:
        rows = mix(AI, PEOPLE, [], HumanConfig(share=0.5, size=8), seed).preferences
        return [row.comparison.id for row in rows]

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(5)}) > 1


def test_a_share_of_the_weight_keeps_every_row() -> None:
    mixture = mixed(AI, PEOPLE[:2], share=0.5, share_of="weight", weight=3.0)
    weights = {kind: [row.weight for row in of(mixture, kind)] for kind in ("human", "ai")}
    assert weights["human"] == [pytest.approx(3.0)] * 2  # half of 12 rows over 2
    assert weights["ai"] == [pytest.approx(0.6)] * 10
    assert sum(weights["human"]) == pytest.approx(sum(weights["ai"]))


def test_weight_0_takes_people_out() -> None:
    assert mixed(AI, PEOPLE, weight=0.0).counts[("human", "weight 0")] == 10


def test_tags_say_whose_labels_count() -> None:
    ai = [label(tagged(pair(n), tag), 0.8) for n, tag in enumerate(("helpful", "harmless", "other"))]
    votes = [
        vote(tagged(pair(100 + n), *tags), "x", 1.0)
        for n, tags in enumerate((("helpful",), ("harmless",), (), ("helpful", "harmless")))
    ]
    mixture = mixed(ai, votes, by_tag={"helpful": "human", "harmless": "ai"})
    assert [row.comparison.id for row in mixture.preferences] == ["c100", "c102", "c1", "c2"]
    assert mixture.counts["human", "left to the other source by its tag"] == 2


def test_what_resembles_an_evaluation_prompt_is_not_learned() -> None:
    asked = "Could you tell me how to open the old wooden shed behind the house?"
    held_out = Prompt("e", (Message("user", asked.upper()),))
    near = Comparison("near", Prompt("p", (Message("user", asked),)), "Yes.", "No.")
    mixture = mixed([*AI, label(near, 0.9)], [vote(near, "x", 1.0)], held_out, near_duplicates=0.9)
    assert mixture.counts["m", "nearly an evaluation prompt"] == 1
    assert mixture.counts["human", "nearly an evaluation prompt"] == 1
    assert mixture.counts["m", "taken"] == 10


def test_pairs_that_nearly_repeat_one_another_count_once_and_votes_on_one_pair_all_count() -> None:
    text = "Open the shed with the key that hangs behind the kitchen door and close it again when you leave."
    first = Comparison("1", Prompt("p", (Message("user", "The shed?"),)), text, "No, I will not help.")
    again = replace(first, id="2", a=text.rstrip("."))
    votes = [vote(first, who, 1.0) for who in "xyz"]
    mixture = mixed([label(again, 0.9)], votes, near_duplicates=0.9, aggregate="each")
    assert mixture.counts == {("human", "taken"): 3, ("m", "nearly repeats another pair"): 1}


def test_peoples_label_stands() -> None:
    mixture = mixed(AI, [vote(pair(3).swap(), "x", 1.0)])
    assert len(mixture.preferences) == 10
    row = of(mixture, "human")[0]
    assert (row.comparison.a, row.p) == (pair(3).b, 1.0)
    assert mixture.counts["m", "people judged the pair too"] == 1


def test_disagreement_drops_both_and_agreement_keeps_peoples() -> None:
    mixture = mixed(AI, [vote(pair(3), "x", 0.0), vote(pair(4), "x", 1.0)], conflict="drop")
    assert mixture.counts == {
        ("m", "taken"): 8,
        ("m", "people judged the pair too"): 2,
        ("human", "taken"): 1,
        ("human", "people and AI disagree"): 1,
    }
    assert of(mixture, "human")[0].comparison == pair(4)


def test_the_average_counts_the_ai_as_one_vote_where_nothing_tells_better() -> None:
    votes = [vote(pair(3).swap(), who, p) for who, p in (("x", 1.0), ("y", 1.0), ("z", 0.5))]
    mixture = mixed(AI, votes, conflict="average")
    row = of(mixture, "human")[0]
    # Of the swapped pair: votes 1 + 1 + 0.5, and the AI's 1 - 0.8, over four.
    assert row.p == pytest.approx((2.5 + 0.2) / 4)
    assert row.comparison.a == pair(3).b
    assert row.source.name == "average of 3 and m"
    assert mixture.notes == ("an AI label counts as 1.00 votes (assumed: too few pairs have several voters)",)
    assert mixture.counts["m", "averaged with people's votes"] == 1


def test_the_worth_of_a_label_is_recovered_from_votes() -> None:
    draw = np.random.default_rng(0)
    votes, labels = [], []
    for number in range(600):
        p = float(draw.uniform(0.1, 0.9))
        for_a = betabinom.rvs(5, 4 * p, 4 * (1 - p), random_state=draw)  # worth 4 votes
        votes += [vote(pair(number), f"v{v}", float(v < for_a), "kind") for v in range(5)]
        labels.append(label(pair(number), p))
    found = prior_strength(overlap(raters.units(votes), labels))
    assert found is not None
    assert 3.2 < found < 5.0


def test_recalibration_applies_where_it_helps_and_says_so() -> None:
    draw = np.random.default_rng(1)
    truth = draw.uniform(size=300) < 0.5
    sure = [0.99 if t == (draw.uniform() < 0.75) else 0.01 for t in truth]  # right in three of four
    labels = [label(pair(n), p) for n, p in enumerate(sure)]
    votes = [vote(pair(n), "x", float(truth[n]), "kind") for n in range(200)]
    mixture = mixed(labels, votes, recalibrate="temperature")
    left = [row.p for row in of(mixture, "ai")]
    assert len(left) == 100
    assert {round(p, 2) for p in left if p is not None} <= {0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.78} | {
        0.28, 0.27, 0.26, 0.25, 0.24, 0.23, 0.22,
    }  # fmt: skip
    assert mixture.scores["log_loss/gain"].low > 0
    assert "cross-validated" in mixture.notes[0]


def test_recalibration_that_does_not_help_changes_nothing() -> None:
    draw = np.random.default_rng(2)
    p = draw.uniform(0.05, 0.95, size=200)
    labels = [label(pair(n), float(q)) for n, q in enumerate(p)]
    votes = [vote(pair(n), "x", float(draw.uniform() < p[n]), "kind") for n in range(40)]
    mixture = mixed(labels, votes, recalibrate="isotonic" if len(votes) >= 100 else "temperature")
    gain = mixture.scores["log_loss/gain"].value
    changed = [row.p for row in of(mixture, "ai")] != [q.p for q in labels[40:]]
    assert changed == (gain > 0)


def test_too_few_pairs_to_recalibrate_is_an_error() -> None:
    with pytest.raises(CaiError, match="at least 20 prompts; there are 1"):
        mixed(AI, [vote(pair(3), "x", 0.0)], recalibrate="temperature")


def test_a_share_of_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="no human label to take; cast votes with cai annotate"):
        mixed(AI, [], share=0.3)
    with pytest.raises(UsageError, match="no AI label"):
        mixed([], PEOPLE, share=0.3)
    assert len(mixed([], PEOPLE, share=1.0).preferences) == 10


@given(
    people=st.lists(st.tuples(st.integers(0, 12), st.sampled_from([0.0, 0.5, 1.0, None])), max_size=15),
    models=st.lists(st.tuples(st.integers(0, 12), st.sampled_from([0.1, 0.5, 0.9, None])), max_size=15),
    conflict=st.sampled_from(["human", "average", "drop"]),
    how=st.sampled_from(["majority", "each"]),
    size=st.integers(1, 20),
)
def test_rows_are_never_lost_or_made(
    people: list[tuple[int, float | None]],
    models: list[tuple[int, float | None]],
    conflict: str,
    how: str,
    size: int,
) -> None:
    votes = [vote(pair(n), f"v{i}", p) for i, (n, p) in enumerate(people)]
    labels = [
        label(replace(pair(n), id=f"l{i}"), p)
        if p is not None
        else Preference(replace(pair(n), id=f"l{i}"), None, AI[0].source, (), "unreadable")
        for i, (n, p) in enumerate(models)
    ]
    mixture = mixed(labels, votes, conflict=conflict, aggregate=how, size=size)
    came = len(votes) if how == "each" else len({n for n, _ in people})
    total = Counter[str]()
    for (source, _), count in mixture.counts.items():
        total[source] += count
    assert (total["human"], total["m"]) == (came, len(labels))
    assert len(mixture.preferences) <= size
    assert all(row.p is not None for row in mixture.preferences)
