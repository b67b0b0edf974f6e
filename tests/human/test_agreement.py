"""Agreement: coefficients against their definitions, real data against an independent count, clear words."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, astuple
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_votes import label, pair, vote
from test_human_real import shared
from typer.testing import CliRunner

from cai.cli.human_commands import app
from cai.human.agreement.agreement_report import agreement_of, describe
from cai.human.agreement.overlap import pair_scores, reliability_curve
from cai.human.agreement.voter_agreement import measure
from cai.human.collected import votes_of
from cai.human.exchange import store
from cai.human.votes.log import Vote, VoteLog
from cai.run.folder import RunFolder
from cai.statistics import reliability
from cai.statistics.prediction import PairScore, calibration_error
from cai.values.errors import UsageError
from cai.values.types import Preference

# --- The definitions, written out ---------------------------------------------------------------


def alpha_by_definition(units: Sequence[Sequence[float]], squared: bool = False) -> float:
    """Krippendorff 2018, §12.3: the matrix of coincidences, a cell at a time."""
    values = sorted({value for unit in units if len(unit) > 1 for value in unit})
    coincidences: dict[tuple[float, float], float] = defaultdict(float)
    for unit in units:
        for i, x in enumerate(unit):
            for j, y in enumerate(unit):
                if i != j:
                    coincidences[x, y] += 1 / (len(unit) - 1)
    margin = {c: sum(coincidences[c, k] for k in values) for c in values}
    total = sum(margin.values())
    observed = expected = 0.0
    for c in values:
        for k in values:
            distance = (c - k) ** 2 if squared else float(c != k)
            observed += coincidences[c, k] * distance
            expected += margin[c] * margin[k] * distance / (total - 1)
    return 1 - observed / expected


def kappa_by_definition(first: Sequence[int], second: Sequence[int], weights: Sequence[float]) -> float:
    total = sum(weights)
    agreed = sum(w for x, y, w in zip(first, second, weights, strict=True) if x == y) / total
    chance = 0.0
    for value in (0, 1, 2):
        one = sum(w for x, w in zip(first, weights, strict=True) if x == value) / total
        two = sum(w for y, w in zip(second, weights, strict=True) if y == value) / total
        chance += one * two
    return (agreed - chance) / (1 - chance)


def both_orders(units: Sequence[Sequence[float]], top: float) -> list[list[float]]:
    """Every pair a second time with its responses exchanged."""
    return [*map(list, units), *([top - value for value in unit] for unit in units)]


def kappa_in_both_orders(votes: Sequence[tuple[int, int]], weight: float = 1.0) -> float:
    """κ of (first rater, second rater) with classes 0 (b), 1 (tie), 2 (a)."""
    votes = [*votes, *((2 - x, 2 - y) for x, y in votes)]
    return kappa_by_definition([x for x, _ in votes], [y for _, y in votes], [weight] * len(votes))


def random_units(seed: int, grades: int) -> list[list[float]]:
    """Pairs with zero to four votes each, the votes of a pair alike more often than not."""
    draw = np.random.default_rng(seed)
    units = []
    for _ in range(60):
        centre = draw.integers(grades)
        noise = draw.integers(-1, 2, size=draw.integers(0, 5))
        units.append((((centre + noise).clip(0, grades - 1)) / (grades - 1)).tolist())
    return units


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("grades", [3, 5])
def test_alpha_is_its_definition(seed: int, grades: int) -> None:
    units = random_units(seed, grades)
    prompts = [index // 2 for index in range(60)]
    for distance in ("nominal", "interval"):
        score = reliability.alpha(units, prompts, distance)  # type: ignore[arg-type]
        assert score.value == pytest.approx(alpha_by_definition(units, distance == "interval"), abs=1e-12)
        assert score.low < score.value < score.high <= 1
        assert score.n == len({p for p, unit in zip(prompts, units, strict=True) if len(unit) > 1})


def test_alpha_of_krippendorffs_example() -> None:
    """Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C: four observers, 12 units."""
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[float(v) for v in unit if v is not None] for unit in zip(*observers, strict=True)]
    assert reliability.alpha(units, range(12)).value == pytest.approx(0.743, abs=5e-4)
    assert reliability.alpha(units, range(12), "interval").value == pytest.approx(0.849, abs=5e-4)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_its_definition(seed: int) -> None:
    draw = np.random.default_rng(seed)
    first = draw.integers(0, 3, size=80).tolist()
    second = [x if draw.random() < 0.6 else int(draw.integers(3)) for x in first]
    weights = draw.uniform(0.2, 1, size=80).tolist()
    for given in (None, weights):
        score = reliability.kappa(first, second, range(80), given)
        assert score.value == pytest.approx(kappa_by_definition(first, second, given or [1] * 80), abs=1e-12)
        assert score.low < score.value < score.high


def test_the_jackknife_by_hand() -> None:
    """Three prompts with tables of two raters; one left out at a time, on the scale log(D_o/D_e)."""
    first, second = [2, 2, 0, 0, 2, 0], [2, 0, 0, 0, 2, 2]
    prompts = ["x", "x", "y", "y", "z", "z"]
    score = reliability.kappa(first, second, prompts)

    def log_ratio(kept: list[int]) -> float:
        value = kappa_by_definition([first[i] for i in kept], [second[i] for i in kept], [1.0] * len(kept))
        return math.log(1 - value)

    without_y = log_ratio([0, 1, 4, 5])
    assert log_ratio(list(range(6))) == pytest.approx(math.log(2 / 3))
    assert without_y == pytest.approx(0.0) or without_y > 0
    # Without x and without z one in four disagrees; without y two do.
    leave = [log_ratio([2, 3, 4, 5]), without_y, log_ratio([0, 1, 2, 3])]
    mean = sum(leave) / 3
    error = math.sqrt(2 / 3 * sum((value - mean) ** 2 for value in leave))
    half = 4.302653 * error  # t(0.975, 2)
    assert score.high == pytest.approx(1 - math.exp(math.log(2 / 3) - half), abs=1e-6)
    assert score.low == pytest.approx(max(-1, 1 - math.exp(math.log(2 / 3) + half)), abs=1e-6)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Two to three raters with ties, one to four pairs a prompt, 30 prompts; 0.95 ± 3 standard errors."""
    draw = np.random.default_rng(0)

    def world(prompts: int) -> tuple[list[list[float]], list[int]]:
        units, clusters = [], []
        for prompt in range(prompts):
            spread = math.exp(draw.normal())  # prompts differ in how clear their answers are
            for _ in range(draw.integers(1, 5)):
                p = 1 / (1 + math.exp(-1.5 * spread * draw.normal()))
                raters = draw.random((draw.integers(2, 4), 2))
                units.append([0.5 if tie < 0.1 else float(side < p) for tie, side in raters])
                clusters.append(prompt)
        return units, clusters

    truth = reliability.alpha(*world(20_000)).value
    scores = [reliability.alpha(*world(30)) for _ in range(300)]
    hits = np.mean([score.low <= truth <= score.high for score in scores])
    assert 0.95 - 3 * 0.0126 <= hits <= 0.95 + 3 * 0.0126


# --- Real votes ---------------------------------------------------------------------------------


def test_figures_of_real_votes_against_an_independent_count() -> None:
    """Everything here is read from the sheet itself; no function of the package is used."""
    from openpyxl import load_workbook

    path = shared("open-instruct-human-eval.xlsx")
    found = agreement_of(str(path)).scores

    header, *lines = load_workbook(path).active.iter_rows(values_only=True)
    rows: list[dict[str, Any]] = [dict(zip(header, line, strict=True)) for line in lines]
    grades = {"a-is-better": 2, "a-is-slightly-better": 1, "tie": 0, "b-is-slightly-better": -1}
    votes: dict[tuple[str, frozenset[str]], dict[str, int]] = defaultdict(dict)
    again: list[bool] = []
    first_shown = []
    for row in rows:
        a, b = row["completion_a"], row["completion_b"]
        if row["prompt"] is None or a == b:
            continue
        grade = grades.get(row["preference"], -2)
        side = grade if a < b else -grade  # for the answer that comes first in the alphabet
        pair_votes = votes[row["prompt"], frozenset((a, b))]
        who = row["evaluator"]
        if who in pair_votes:
            again.append(np.sign(side) == np.sign(pair_votes[who]))
            continue
        pair_votes[who] = side
        if grade:
            first_shown.append(grade > 0)

    units = [[float(v) for v in unit.values()] for unit in votes.values()]
    sides = [[float(np.sign(v)) for v in unit] for unit in units]
    assert sum(len(unit) > 1 for unit in units) == 121
    assert found["agreement/alpha"].value == pytest.approx(
        alpha_by_definition(both_orders(sides, 0)), abs=1e-12
    )
    assert found["agreement/alpha_interval"].value == pytest.approx(
        alpha_by_definition(both_orders(units, 0), squared=True), abs=1e-12
    )
    assert found["agreement/position/human"].value == pytest.approx(np.mean(first_shown), abs=1e-12)
    assert found["agreement/self/human"].value == pytest.approx(np.mean(again), abs=1e-12)

    together: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for unit in votes.values():
        for one, two in combinations(sorted(unit), 2):
            together[one, two].append((int(np.sign(unit[one])) + 1, int(np.sign(unit[two])) + 1))
    enough = {names: both for names, both in together.items() if len(both) >= 10}
    assert len(enough) >= 5
    for (one, two), both in enough.items():
        expected = kappa_in_both_orders(both)
        assert found[f"agreement/kappa/{one}/{two}"].value == pytest.approx(expected, abs=1e-12)
    assert {name for name in found if name.count("/") == 3 and name.startswith("agreement/kappa/")} == {
        f"agreement/kappa/{one}/{two}" for one, two in enough
    }


# --- People and an AI labeler ------------------------------------------------------------------


def test_figures_against_the_ai_by_hand() -> None:
    """Four pairs: the AI agrees with both people on two, with one of them on one, with none on one."""
    pairs = [pair(n, a="longer text", b="no") for n in range(4)]
    human = [vote(c, who, p) for c, ps in zip(pairs, ([1, 1], [0, 0], [1, 0], [1, 1]), strict=True)
             for who, p in zip("xy", ps, strict=True)]  # fmt: skip
    ai = [label(pairs[0], 0.9, 0.7), label(pairs[1].swap(), 0.8, 0.6), label(pairs[2], 0.6, 0.9)]
    ai.append(label(pairs[3], 0.7, 0.1))
    measured = measure(human, ai)
    found = measured.scores
    assert (measured.counts.overlap, measured.counts.ai, measured.counts.votes) == (4, 4, 8)
    # Labels: 0.8, 0.3, 0.75, 0.4 for a; people 1, 0, 1/2, 1. Decided by people: three, of which two right.
    assert found["agreement/accuracy/ai"].value == pytest.approx(2 / 3)
    losses = [-math.log(0.8), -math.log(0.7), -(math.log(0.75) + math.log(0.25)) / 2, -math.log(0.4)]
    assert found["agreement/log_loss/ai"].value == pytest.approx(sum(losses) / 4)
    sides = [(2, 2), (2, 2), (0, 0), (0, 0), (2, 2), (0, 2), (2, 0), (2, 0)]
    assert found["agreement/kappa/ai"].value == pytest.approx(kappa_in_both_orders(sides, 0.5))
    assert found["agreement/kappa/ai/principle/kind"] == found["agreement/kappa/ai"]
    assert found["agreement/accuracy/ai/source/m"] == found["agreement/accuracy/ai"]
    # First shown: 0.9, 0.3 | 0.8, 0.4 | 0.6, 0.1 | 0.7, 0.9: five of eight above 1/2.
    assert found["agreement/position/ai"].value == pytest.approx(5 / 8)
    assert found["agreement/position_mean/ai"].value == pytest.approx(4.7 / 8)
    assert found["agreement/flipped/ai"].value == pytest.approx(1 / 4)
    assert found["agreement/length/ai"].value == pytest.approx(2 / 4)
    assert found["agreement/length/human"].value == pytest.approx(5 / 8)
    assert found["agreement/length_excess/ai"].value == pytest.approx((0 + 0 + 0.5 - 1) / 4)
    assert "agreement/position/human" not in found  # nobody knows what people saw first


def test_the_curve_adds_up_to_the_calibration_error() -> None:
    draw = np.random.default_rng(0)
    scores = []
    for number in range(400):
        margin = float(draw.normal(0, 2))
        agree = float(draw.random() < 1 / (1 + math.exp(-margin / 2)))
        scores.append(PairScore(str(number), f"p{number // 2}", "m", (), agree, margin))
    curve = reliability_curve(scores)
    error = sum(point.pairs * abs(point.human - point.ai) for point in curve) / 400
    expected = calibration_error(scores)
    assert expected is not None
    assert error == pytest.approx(expected.value)
    assert sum(point.pairs for point in curve) == 400
    assert all(
        point.start <= point.ai <= point.end and point.low <= point.human <= point.high for point in curve
    )


def test_position_and_self_agreement_of_people() -> None:
    votes = [vote(pair(n), "x", 1.0, a_first=n < 12) for n in range(20)]
    votes += [vote(pair(n).swap(), "x", 0.0 if n < 3 else 1.0) for n in range(4)]
    found = measure(votes, []).scores
    assert found["agreement/position/x"].value == found["agreement/position/human"].value == 12 / 20
    assert (found["agreement/self/x"].value, found["agreement/self/x"].n) == (3 / 4, 4)


def test_questions_stay_apart_and_the_matching_one_judges_the_ai() -> None:
    kind = [vote(pair(n), who, float(n % 2), "kind") for n in range(12) for who in "xy"]
    useful = [vote(pair(n), who, 1 - float(n % 2), "useful") for n in range(12) for who in "xy"]
    ai = [label(pair(n), 0.9 if n % 2 else 0.1) for n in range(12)]
    measured = measure([*kind, *useful], ai)
    assert measured.counts.pairs == 24
    assert measured.scores["agreement/alpha"].value == 1.0
    assert measured.scores["agreement/alpha/principle/useful"].value == 1.0
    assert measured.scores["agreement/accuracy/ai"].value == 1.0  # judged by "kind" alone
    assert measure(useful, ai).scores["agreement/accuracy/ai"].value == 0.0


def test_positions_in_a_file_are_not_people() -> None:
    draw = np.random.default_rng(0)
    votes = [
        vote(pair(n), f"helpsteer2/{who}", float(draw.random() < 0.2 + 0.6 * (n % 2)))
        for n in range(60)
        for who in (1, 2, 3)
    ]
    votes += [vote(pair(0), "helpsteer2/1", 1.0), vote(pair(0), "hh-rlhf", 0.0)]
    measured = measure(votes, [label(pair(n), 0.6) for n in range(60)])
    assert measured.counts.people == 0
    assert measured.counts.repeated == 0
    assert "agreement/alpha" in measured.scores
    assert "agreement/alpha/source/helpsteer2" in measured.scores
    people = [name for name in measured.scores if "helpsteer2" in name or "self" in name]
    assert people == ["agreement/alpha/source/helpsteer2"]


def test_names_that_could_be_mistaken_for_ours() -> None:
    votes = [vote(pair(n), who, float(n % 2)) for n in range(12) for who in ("ai", "a/b c", "human")]
    found = measure(votes, [label(pair(n), 0.9 if n % 2 else 0.2) for n in range(12)]).scores
    assert "agreement/kappa/a_b c/ai (person)" in found
    assert "agreement/kappa/ai (person)/ai" in found
    assert found["agreement/kappa/human (person)"].value == 1.0


def test_votes_of_models_among_the_imported_ones_are_ai_labels() -> None:
    human = [vote(pair(n), "x", float(n % 2)) for n in range(5)]
    measured = measure([*human, *(label(pair(n), 0.9, by="gpt-4") for n in range(5))], [])
    assert (measured.counts.votes, measured.counts.ai, measured.counts.overlap) == (5, 5, 5)


# --- Where there is nothing to measure ---------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "note"),
    [
        ([], "no human vote"),
        ([vote(pair(1), "x", None), vote(pair(1), "y", None)], "no scored human vote"),
        ([vote(pair(1), "x", 1.0)], "no alpha: no pair has votes by two raters"),
        ([vote(pair(n), "x", float(n % 2)) for n in range(30)], "no alpha: no pair has votes by two raters"),
        ([vote(pair(n), w, 0.5) for n in range(30) for w in "xy"], "no alpha: all votes are the same"),
    ],
)
def test_what_is_not_there_is_said(votes: list[Preference], note: str) -> None:
    measured = measure(votes, [label(pair(n), 0.9) for n in (100, 101)])
    assert any(said.startswith(note) for said in measured.notes)
    assert "agreement/alpha" not in measured.scores
    assert measured.counts.overlap == 0
    scored = any(one.p is not None for one in votes)
    assert ("no AI label on a pair that people voted on" in measured.notes) is scored
    json.dumps(asdict(measured), allow_nan=False)
    assert describe(measured)[-1].startswith("Note: ")


def test_one_pair_with_two_votes_leaves_all_open() -> None:
    measured = measure([vote(pair(1), "x", 1.0), vote(pair(1), "y", 0.0)], [label(pair(1), 0.7)])
    score = measured.scores["agreement/alpha"]
    assert (score.value, score.low, score.high, score.n) == (-0.5, -1.0, 1.0, 1)
    assert "agreement/accuracy/ai" not in measured.scores  # people are split
    json.dumps(asdict(measured), allow_nan=False)


def test_agreement_does_not_depend_on_which_response_is_called_a() -> None:
    draw = np.random.default_rng(0)
    votes = [vote(pair(n), w, float(draw.choice([0, 0.25, 0.5, 1]))) for n in range(40) for w in "xyz"]
    turned = [one.swap() if int(one.comparison.id[1:]) % 3 else one for one in votes]
    ai = [label(pair(n), float(draw.random())) for n in range(40)]
    expected, found = measure(votes, ai).scores, measure(turned, ai).scores
    assert set(found) == set(expected)
    for name, score in found.items():
        assert astuple(score) == pytest.approx(astuple(expected[name])), name
    # So votes that are all for ``a`` are complete agreement, as they would be had half the pairs been turned.
    same = measure([vote(pair(n), w, 1.0) for n in range(30) for w in "xy"], [])
    assert same.scores["agreement/alpha"].value == same.scores["agreement/kappa/x/y"].value == 1.0


def test_complete_agreement_is_not_certainty() -> None:
    few = measure([vote(pair(n), w, float(n % 2)) for n in range(4) for w in "xy"], [])
    many = measure([vote(pair(n), w, float(n % 2)) for n in range(200) for w in "xy"], [])
    assert few.scores["agreement/alpha"].value == many.scores["agreement/alpha"].value == 1.0
    assert few.scores["agreement/alpha"].low < 0.5
    assert 0.9 < many.scores["agreement/alpha"].low < 1


def test_a_single_disagreement_is_not_ignorance() -> None:
    """Between Wilson's limits of 1 in 50: 0.0035 and 0.105 (z = 1.96), over a chance of 1/2."""
    first = [0, 1] * 25
    score = reliability.kappa(first, [1, *first[1:]], range(50))
    by_chance = 1 - (24 / 50 * 25 / 50 + 26 / 50 * 25 / 50)
    assert score.value == pytest.approx(1 - 0.02 / by_chance)
    assert score.low == pytest.approx(1 - 0.105 / by_chance, abs=2e-3)
    assert score.high == pytest.approx(1 - 0.0035 / by_chance, abs=2e-3)


def test_certain_labels_have_a_finite_loss() -> None:
    scores = measure(
        [vote(pair(1), "x", 0.0), vote(pair(2), "x", 0.0)], [label(pair(1), 1.0), label(pair(2), 0.0)]
    )
    assert scores.scores["agreement/log_loss/ai"].value == pytest.approx(-math.log(1e-6) / 2, rel=1e-3)
    assert pair_scores([]) == []


# --- The command -------------------------------------------------------------------------------


def a_run(folder: Path) -> RunFolder:
    run = RunFolder(folder)
    (folder / "data").mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    (folder / "manifest.json").write_text("{}")
    return run


def test_the_command_over_a_run(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    draw = np.random.default_rng(0)
    truth = draw.random(50) < 0.5
    human = [vote(pair(n), w, float(truth[n] ^ (draw.random() < 0.2))) for n in range(40) for w in "xyz"]
    store.write(run.table("human"), human)
    store.write(run.table("preferences"), [label(pair(n), 0.8 if truth[n] else 0.3, 0.6) for n in range(50)])
    run.write_text("metrics.json", json.dumps({
        "agreement/old": {"value": 1, "low": 1, "high": 1, "n": 1},
        "eval/x": {"value": 1, "low": 1, "high": 1, "n": 1},
    }))  # fmt: skip

    result = CliRunner().invoke(app, ["agreement", str(run.path)])
    assert result.exit_code == 0
    for text in ("120 votes", "40 on pairs that people voted on", "kappa/ai", "Calibration"):
        assert text in result.output
    metrics = run.read_metrics()
    assert {"eval/x", "agreement/alpha", "agreement/ece/ai", "agreement/kappa/x/y"} <= set(metrics)
    assert "agreement/old" not in metrics
    curve = run.read_table("reliability", dict)
    assert sum(row["pairs"] for row in curve) == 40
    again = CliRunner().invoke(app, ["agreement", str(run.path), "--json"])
    told = json.loads(again.output)
    assert told["scores"]["agreement/alpha"] == asdict(metrics["agreement/alpha"])
    assert told["curve"] == curve


def test_votes_of_the_page_count_too(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    assert votes_of(run) == []
    log = VoteLog(run.path / "votes.sqlite")
    for number, (first, choice) in enumerate(
        [("a", "first"), ("b", "first"), ("a", "tie"), ("a", "both bad")]
    ):
        comparison = pair(number)
        cast = Vote(f"u{number}", "y", f"i{number}", f"h{number}", "kind", "Kinder?", first, choice)
        log.cast(cast, comparison)
    log.close()
    store.write(run.table("human"), [vote(pair(n), "x", 1.0, "kind") for n in range(4)])
    assert [one.p for one in votes_of(run)] == [1.0] * 4 + [1.0, 0.0, 0.5, None]
    measured = agreement_of(str(run.path))
    counts = measured.counts
    assert (counts.votes, counts.ties, counts.unscored, counts.pairs, counts.shared) == (8, 1, 1, 4, 3)
    assert measured.scores["agreement/position/human"].n == 4


def test_a_run_without_votes_says_what_to_do(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    with pytest.raises(UsageError, match="no human vote in this run; collect some with cai annotate"):
        agreement_of(str(run.path))
    with pytest.raises(UsageError, match="no such file"):
        agreement_of(str(tmp_path / "missing.jsonl"))


def test_a_file_of_votes_alone(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    store.write(file, [vote(pair(n), w, float(n % 2)) for n in range(4) for w in "xy"])
    assert agreement_of(str(file)).scores["agreement/alpha"].value == 1.0
