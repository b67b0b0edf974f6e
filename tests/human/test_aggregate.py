"""Votes to labels: the rules by hand, Dawid-Skene against crowd-kit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene
from sample_votes import label, pair, vote

from cai.human.mixing import dawid_skene
from cai.human.mixing.aggregate import aggregate
from cai.values.types import Judgement, Preference, Source

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:crowdkit")  # of pandas 3


def test_majority_by_hand() -> None:
    one, two, three = pair(1), pair(2), pair(3)
    votes = [
        vote(one, "x", 1.0),
        vote(one.swap(), "y", 0.25),  # for what one calls a
        vote(one, "z", 0.0),
        vote(two, "x", 0.5),
        vote(two, "y", 0.5),
        vote(two, "z", 1.0),
        vote(three, "x", 1.0),
        vote(three, "y", 0.0),
        vote(three, "z", 0.5),
    ]
    made = aggregate(votes, "majority")
    assert [made_.p for made_ in made.preferences] == [1.0, 0.5, 0.5]
    assert made.preferences[0].comparison == one
    assert made.preferences[0].source == Source("human", "majority of 3")
    assert [made_.raw for made_ in made.preferences] == ["2 a, 1 b", "1 a, 2 tie", "1 a, 1 tie, 1 b"]
    assert (made.votes, made.unscored, made.repeated) == (9, 0, 0)


def test_votes_under_two_principles_are_two_questions() -> None:
    votes = [vote(pair(1), who, p, q) for q, p in (("kind", 1.0), ("useful", 0.0)) for who in "xy"]
    made = aggregate(votes, "majority").preferences
    assert [(m.p, m.judgements) for m in made] == [
        (1.0, (Judgement("kind", 1.0, None),)),
        (0.0, (Judgement("useful", 0.0, None),)),
    ]


def test_a_tag_is_the_question_where_the_order_shown_is_unknown() -> None:
    from dataclasses import replace

    def tagged(tag: str, p: float) -> Preference:
        comparison = pair(1)
        return vote(replace(comparison, prompt=replace(comparison.prompt, tags=(tag,))), "pku-saferlhf", p)

    made = aggregate([tagged("helpful", 1.0), tagged("harmless", 0.0)], "majority")
    assert [m.p for m in made.preferences] == [1.0, 0.0]


@pytest.mark.parametrize("how", ["majority", "dawid-skene", "each"])
def test_votes_without_a_side_are_counted_and_kept(how: str) -> None:
    votes = [
        vote(pair(1), "x", None),
        vote(pair(1), "y", None),
        vote(pair(2), "x", None),
        vote(pair(2), "y", 1.0),
    ]
    made = aggregate(votes, how)  # type: ignore[arg-type]
    assert (made.votes, made.unscored) == (4, 3)
    scored = [m for m in made.preferences if m.p is not None]
    assert [m.p for m in scored] == [pytest.approx(1.0)]
    assert scored[0].source == Source("human", "y")
    if how == "each":
        assert len(made.preferences) == 4
        return
    first = made.preferences[0]
    assert (first.p, first.unscored, first.raw) == (None, "both bad", "2 both bad")
    assert scored[0].raw == "1 a, 1 both bad"


def test_a_person_counts_once_and_nameless_votes_each() -> None:
    twice = [vote(pair(1), "x", 1.0), vote(pair(1), "x", 0.0), vote(pair(1), "y", 0.0)]
    made = aggregate(twice, "majority")
    assert (made.preferences[0].p, made.repeated) == (0.5, 1)
    nameless = [vote(pair(1), "helpsteer2/1", p) for p in (1.0, 0.0, 0.0)]
    made = aggregate(nameless, "majority")
    assert (made.preferences[0].p, made.repeated) == (0.0, 0)
    assert made.preferences[0].source.name == "majority of 3"


def test_each_turns_votes_to_one_order() -> None:
    one = pair(1)
    made = aggregate([vote(one, "x", 0.75), vote(one.swap(), "y", 0.75)], "each").preferences
    assert [(m.comparison.a, m.p, m.source.name) for m in made] == [(one.a, 0.75, "x"), (one.a, 0.25, "y")]


def test_models_and_people_are_not_aggregated_together() -> None:
    made = aggregate([vote(pair(1), "x", 1.0), label(pair(1), 0.2)], "majority").preferences
    assert [(m.source.kind, m.p) for m in made] == [("human", 1.0), ("ai", 0.0)]


def test_nothing_at_all() -> None:
    for how in ("majority", "dawid-skene", "each"):
        assert aggregate([], how).preferences == ()  # type: ignore[arg-type]


def simulated(seed: int, tasks: int = 120) -> pd.DataFrame:
    """Votes in three classes by seven workers of different skill, each task by two to five of them."""
    draw = np.random.default_rng(seed)
    truth = draw.choice(3, size=tasks, p=[0.45, 0.1, 0.45])
    skills = draw.uniform(0.35, 0.95, size=7)
    rows = []
    for task in range(tasks):
        for worker in draw.choice(7, size=draw.integers(2, 6), replace=False):
            right = draw.random() < skills[worker]
            said = truth[task] if right else draw.choice([c for c in range(3) if c != truth[task]])
            rows.append((task, f"w{worker}", said))
    return pd.DataFrame(rows, columns=["task", "worker", "label"])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("iterations", [1, 7, 100])
def test_dawid_skene_is_crowd_kits(seed: int, iterations: int) -> None:
    data = simulated(seed)
    theirs = DawidSkene(n_iter=iterations, tol=1e-5).fit(data)
    names = sorted(set(data.worker))
    ours = dawid_skene.fit(
        data.task.to_numpy(),
        np.array([names.index(name) for name in data.worker]),
        data.label.to_numpy().astype(np.int64),
        classes=3,
        iterations=iterations,
    )
    assert ours.iterations == len(theirs.loss_history_)
    assert ours.bound == pytest.approx(theirs.loss_history_[-1], abs=1e-9)
    expected = theirs.probas_.sort_index()[[0, 1, 2]].to_numpy()
    np.testing.assert_allclose(ours.posterior, expected, atol=1e-6, rtol=0)
    for (worker, said), row in theirs.errors_.iterrows():
        np.testing.assert_allclose(
            ours.errors[names.index(worker), said], row[[0, 1, 2]].to_numpy(dtype=float), atol=1e-6, rtol=0
        )


def as_votes(data: pd.DataFrame) -> list[Preference]:
    return [vote(pair(task), who, said / 2) for task, who, said in data.itertuples(index=False)]


def test_dawid_skene_labels_are_crowd_kits_on_pairs_in_both_orders() -> None:
    data = simulated(5)
    mirrored = data.assign(task=data.task + 1000, label=2 - data.label)
    probas = DawidSkene(n_iter=100).fit_predict_proba(pd.concat([data, mirrored], ignore_index=True))
    made = aggregate(as_votes(data), "dawid-skene")
    expected = [probas.loc[task, 2] + probas.loc[task, 1] / 2 for task in dict.fromkeys(data.task)]
    assert [m.p for m in made.preferences] == pytest.approx(expected, abs=1e-6)
    assert made.preferences[0].source.name.startswith("dawid-skene of ")


def test_dawid_skene_has_no_preferred_side() -> None:
    votes = as_votes(simulated(6))
    forth = aggregate(votes, "dawid-skene").preferences
    back = aggregate([one.swap() for one in votes], "dawid-skene").preferences
    assert [m.p for m in forth] == pytest.approx([1 - (m.p or 0.0) for m in back], abs=1e-9)


def test_dawid_skene_tells_good_annotators_from_bad_ones_and_beats_the_majority() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 2, size=300)
    skills = {"good": 0.95, "fair": 0.8, "coin": 0.5, "noise": 0.5, "wrong": 0.1}
    votes = [
        vote(pair(n), who, float(truth[n] if draw.random() < skill else 1 - truth[n]))
        for n in range(300)
        for who, skill in skills.items()
    ]

    def right(how: str) -> float:
        made = aggregate(votes, how).preferences  # type: ignore[arg-type]
        return float(np.mean([(m.p or 0.0) > 0.5 for m in made] == (truth == 1)))

    assert right("dawid-skene") > 0.93
    assert right("majority") < 0.85
    found = aggregate(votes, "dawid-skene").annotators
    for who, skill in skills.items():
        assert found[who].low - 0.02 <= skill <= found[who].high + 0.02
        assert found[who].n == 300
