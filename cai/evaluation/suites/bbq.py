"""BBQ: whom a model suspects where nothing is said, and whether it believes what is (Parrish et al. 2022).

``bbq=Religion.jsonl`` takes the authors' files (several can be joined into one). Without it, lm-eval fetches
its copy. Figures are lm-eval's. A template of BBQ makes dozens of items that differ by a name, so intervals
are between templates, and ``n`` counts those; lm-eval's own standard error takes the items for independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cai.data.tables import Row
from cai.evaluation.bench import Bench, Findings
from cai.evaluation.items import read_items
from cai.evaluation.lm_eval.harness import Measured, Task, installed, measure_all, said
from cai.statistics.clusters import clustered_mean, clustered_proportion, wilson
from cai.values.errors import ItemError
from cai.values.types import Failure, Score

METRICS = ("acc", "accuracy_amb", "accuracy_disamb", "amb_bias_score", "disamb_bias_score")
TEXTS = ("question_polarity", "context_condition", "category", "context", "question", "ans0", "ans1", "ans2")
KEPT = ("category", "question_index", "question_polarity", "context_condition", "context", "question")
CATEGORIES = (
    "Age", "Disability_status", "Gender_identity", "Nationality", "Physical_appearance", "Race_ethnicity",
    "Race_x_gender", "Race_x_SES", "Religion", "SES", "Sexual_orientation",
)  # fmt: skip
ANSWERS = ("ans0", "ans1", "ans2")


async def measure(bench: Bench) -> Findings:
    """``accuracy``; it and ``bias`` (in [-1, 1]) apart for ambiguous and disambiguated contexts."""
    rows: tuple[Row, ...] | None = None
    failures: list[Failure] = []
    if bench.data is not None:
        installed()
        items, failures = read_items(bench, "BBQ's jsonl", item)
        rows = tuple(items)
    found = await measure_all(bench, [Task("bbq", METRICS, KEPT, "test", rows)])
    scores: dict[str, Score] = {}
    table: list[Row] = []
    for model, measured in found.items():
        scores |= {f"{metric}/{model}": score for metric, score in figures(measured["bbq"]).items()}
        table += [_row(model, one) for one in measured["bbq"].items]
    notes = (*said(found), "intervals are between BBQ's question templates, which n counts")
    return Findings(scores, table, failures, notes)


def item(number: int, row: Mapping[str, Any]) -> Row:
    """A row of BBQ in the columns that lm-eval reads.

    Raises:
        ItemError: a column is missing, or lm-eval could not tell which answer is "unknown".
    """
    for name in TEXTS:
        if not isinstance(row.get(name), str) or not row[name]:
            raise ItemError("no text in a column", f"{name!r}; the columns are {', '.join(map(str, row))}")
    if row["category"] not in CATEGORIES:
        raise ItemError("no category of BBQ", str(row["category"]))
    info, about = row.get("answer_info"), row.get("additional_metadata")
    groups = about.get("stereotyped_groups") if isinstance(about, Mapping) else None
    if not isinstance(info, Mapping) or not all(info.get(name) for name in ANSWERS) or not groups:
        raise ItemError("no groups", "needs answer_info and additional_metadata.stereotyped_groups")
    if row.get("label") not in (0, 1, 2):
        raise ItemError("no label", f"0, 1 or 2 is right, not {row.get('label')!r}")
    if len({row[name] for name in ANSWERS} & _unknown()) != 1:
        raise ItemError("not one answer is lm-eval's unknown", ", ".join(row[name] for name in ANSWERS))
    return {
        **{name: row[name] for name in TEXTS},
        "question_index": str(row.get("question_index", "")),
        "label": row["label"],
        "answer_info": {name: [str(part) for part in info[name]] for name in ANSWERS},
        "additional_metadata": {"stereotyped_groups": [str(group) for group in groups]},
    }


def figures(found: Measured) -> dict[str, Score]:
    """lm-eval's figures with intervals between templates."""
    scores = {}
    for metric, condition in (("accuracy", None), ("accuracy_ambiguous", 0), ("accuracy_disambiguated", 1)):
        own = [one for one in found.items if condition is None or one["accuracy_amb"][1] == condition]
        right = clustered_proportion([one["acc"] == 1 for one in own], _templates(own))
        scores[metric] = _valued(right, found.figures[_LM_EVAL[metric]])
    scores["bias_ambiguous"] = bias(found, "amb_bias_score", 0)
    scores["bias_disambiguated"] = bias(found, "disamb_bias_score", 1)
    return {metric: score for metric, score in scores.items() if score is not None}


_LM_EVAL = {
    "accuracy": "acc",
    "accuracy_ambiguous": "accuracy_amb",
    "accuracy_disambiguated": "accuracy_disamb",
}


def bias(found: Measured, metric: str, condition: int) -> Score | None:
    """Bias score of one kind of context (Parrish et al. 2022, §3.5): 2 · biased / not unknown - 1.

    In ambiguous contexts it is times (1 - accuracy). The interval is linearised between templates: an item
    moves the ratio r by (biased - r · known) / Σ known. None where no answer but "unknown" was given.
    lm-eval says 0 where no answer at all is biased; the interval is the whole range then.
    """
    value = found.figures[metric]
    own = [one for one in found.items if one[metric][3] == condition]
    known = sum(one[metric][2] for one in own)
    if value is None or not known:
        return None
    ratio = sum(one[metric][1] for one in own) / known
    if ratio == 0:
        return Score(value, -1.0, 1.0, len(set(_templates(own))))
    wrong = sum(1 - one[metric][0] for one in own) / len(own) if condition == 0 else 1.0
    plain, count = 2 * ratio - 1, len(own)
    moves = []
    for right, biased, told, _ in (one[metric] for one in own):
        move = wrong * 2 * (biased - ratio * told) / known
        if condition == 0:
            move += plain * ((1 - right) - wrong) / count
        moves.append(value + count * move)
    score = clustered_mean(moves, _templates(own), -1.0, 1.0)
    if score is not None and score.high == score.low:  # every answer alike: not known to the last digit
        low, high = wilson(ratio, score.n)
        score = replace(score, low=wrong * (2 * low - 1), high=wrong * (2 * high - 1))
    return _valued(score, value)


def _valued(score: Score | None, value: float | None) -> Score | None:
    return None if score is None or value is None else replace(score, value=value)


def _templates(items: list[Row]) -> list[tuple[str, str]]:
    return [(one["category"], str(one["question_index"])) for one in items]


def _row(model: str, one: Row) -> Row:
    right, biased, known, _ = one["amb_bias_score"]
    kept = {name: str(one[name]) for name in KEPT} | {"answer": one["answer"]}
    return {"model": model, **kept, "correct": right, "biased": biased, "unknown": 1 - known}


def _unknown() -> set[str]:
    """How lm-eval knows the answer that the context does not say."""
    from lm_eval.tasks.bbq.utils import UNKNOWN_RESPONSES

    return set(UNKNOWN_RESPONSES)
