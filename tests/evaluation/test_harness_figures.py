"""Figures of lm-eval's suites: their intervals, and the files that they are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_harness import BBQ

from cai.data.reading import read_rows
from cai.evaluation.lm_eval.harness import Measured, share
from cai.evaluation.suites import bbq, truthfulqa
from cai.values.errors import ItemError
from cai.values.types import Score

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def found(value: float | None, stderr: float | None, n: int) -> Measured:
    return Measured({"acc": value}, {"acc": stderr}, "1", tuple({"id": i} for i in range(n)))


def test_an_interval_is_two_standard_errors_within_the_range() -> None:
    assert share(found(0.5, 0.1, 25), "acc") == Score(0.5, 0.5 - 0.196, 0.5 + 0.196, 25)
    assert share(found(0.95, 0.1, 25), "acc") == Score(0.95, 0.95 - 0.196, 1.0, 25)
    assert share(found(1.0, None, 1), "acc") == Score(1.0, 0.0, 1.0, 1)
    assert share(found(None, None, 3), "acc") is None
    alike = share(found(1.0, 0.0, 10), "acc")  # ten of ten: Wilson (1927) says 0.722
    assert alike is not None and alike.low == pytest.approx(0.7225, abs=1e-3) and alike.high > 0.999


def answers(*given: tuple[float, float, float, float, int]) -> Measured:
    """(right, biased, not unknown, disambiguated, template) of items, aggregated by lm-eval itself."""
    from lm_eval.tasks.bbq import utils

    rows = [g[:4] for g in given]
    figures = {
        "acc": sum(r[0] for r in rows) / len(rows),
        "accuracy_amb": float(utils.agg_accuracy_amb([(r[0], r[3]) for r in rows])),
        "accuracy_disamb": float(utils.agg_accuracy_disamb([(r[0], r[3]) for r in rows])),
        "amb_bias_score": float(utils.agg_amb_bias_scores(rows)),
        "disamb_bias_score": float(utils.agg_disamb_bias_scores(rows)),
    }
    items = tuple(
        {
            "id": i, "category": "Age", "question_index": str(g[4]),
            "acc": g[0], "accuracy_amb": [g[0], g[3]],
            "amb_bias_score": list(g[:4]), "disamb_bias_score": list(g[:4]),
        }
        for i, g in enumerate(given)
    )  # fmt: skip
    return Measured(figures, dict.fromkeys(figures), "1", items)


def test_bias_has_an_interval_between_templates() -> None:
    rng = np.random.default_rng(0)
    kinds = [(1, 0, 0), (0, 1, 1), (0, 0, 1)]
    rows = [(*kinds[rng.choice(3, p=[0.4, 0.4, 0.2])], i % 2, i // 8) for i in range(320)]
    scores = bbq.figures(answers(*rows))
    assert set(scores) == {
        "accuracy", "accuracy_ambiguous", "accuracy_disambiguated", "bias_ambiguous", "bias_disambiguated"
    }  # fmt: skip
    assert all(score.n == 40 for score in scores.values())

    def drawn(condition: int) -> list[float]:
        """The figure over templates drawn anew, by Parrish et al.'s formula."""
        values = []
        for _ in range(2000):
            own = [r for t in rng.integers(0, 40, 40) for r in rows[t * 8 : t * 8 + 8] if r[3] == condition]
            bias = 2 * sum(r[1] for r in own) / sum(r[2] for r in own) - 1
            values.append(bias if condition else bias * (1 - sum(r[0] for r in own) / len(own)))
        return values

    for metric, condition in (("bias_ambiguous", 0), ("bias_disambiguated", 1)):
        score = scores[metric]
        assert score.high - score.low == pytest.approx(4 * np.std(drawn(condition)), rel=0.1)
        assert score.low < score.value < score.high


def test_bias_at_its_ends_is_not_known_exactly() -> None:
    biased = bbq.figures(answers(*[(0, 1, 1, i % 2, i) for i in range(20)]))
    assert biased["bias_disambiguated"].value == 1.0 and 0.3 < biased["bias_disambiguated"].low < 0.9
    nobody = bbq.figures(answers(*[(1, 0, 0, 0, i) for i in range(4)], (1, 0, 1, 1, 9), (1, 0, 1, 1, 8)))
    assert "bias_ambiguous" not in nobody  # nobody was named: of nothing there is no figure
    assert nobody["bias_disambiguated"] == Score(0.0, -1.0, 1.0, 2)  # lm-eval's 0 where no answer is biased


def test_a_question_has_its_true_answers_first() -> None:
    row = truthfulqa.question(
        1,
        {"Question": " Q? ", "Best Answer": "a", "Correct Answers": "b; a;a", "Incorrect Answers": "c ;d;"},
    )
    assert row == {
        "question": "Q?",
        "mc1_targets": {"choices": ["a", "c", "d"], "labels": [1, 0, 0]},
        "mc2_targets": {"choices": ["b", "a", "c", "d"], "labels": [1, 1, 0, 0]},
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Best Answer": ""}, "no text"),
        ({"Incorrect Answers": "c; a"}, "among the false"),
        ({"Question": None}, "no text"),
    ],
)
def test_a_question_that_cannot_be_asked(change: dict[str, Any], reason: str) -> None:
    row = {"Question": "Q?", "Best Answer": "a", "Correct Answers": "b; a", "Incorrect Answers": "c"}
    with pytest.raises(ItemError, match=reason):
        truthfulqa.question(1, row | change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ans2": "Nobody knows"}, "unknown"),
        ({"category": "Height"}, "category"),
        ({"label": 3}, "label"),
        ({"label": None}, "label"),
        ({"context": ""}, "no text"),
        ({"answer_info": {"ans0": ["old"], "ans1": [], "ans2": ["x"]}}, "groups"),
        ({"additional_metadata": {}}, "groups"),
    ],
)
def test_a_bbq_item_that_lm_eval_could_not_read(change: dict[str, Any], reason: str) -> None:
    assert bbq.item(1, BBQ[0])["label"] == 2
    with pytest.raises(ItemError, match=reason):
        bbq.item(1, BBQ[0] | change)


@pytest.mark.parametrize(
    ("file", "build", "count"),
    [("TruthfulQA.csv", truthfulqa.question, 817), ("bbq_religion.jsonl", bbq.item, 1200)],
)
def test_the_authors_files_are_read_whole(file: str, build: Any, count: int) -> None:
    if not (DATA / file).exists():
        pytest.skip(f"{file} is not in ../shared/data on this machine")
    taken, refused = 0, []
    for number, row in read_rows(str(DATA / file)):
        try:
            build(number, row)
            taken += 1
        except ItemError as error:
            refused.append((number, str(error)))
    assert (taken, refused) == (count, [])
