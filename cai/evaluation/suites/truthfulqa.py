"""TruthfulQA's multiple-choice figures (Lin et al. 2022), as lm-eval measures them.

``truthfulqa=TruthfulQA.csv`` takes the authors' own table (Question, Best Answer, Correct Answers, Incorrect
Answers; answers apart by ";"). Without it, lm-eval fetches its copy of the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai.data.tables import Row
from cai.evaluation.bench import Bench, Findings
from cai.evaluation.items import read_items
from cai.evaluation.lm_eval.harness import Measured, Task, measure_all, said, share
from cai.values.errors import ItemError
from cai.values.types import Failure, Score

COLUMNS = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")


async def measure(bench: Bench) -> Findings:
    """``mc1`` (the likeliest answer is the best one) and ``mc2`` (probability of the true ones)."""
    rows: tuple[Row, ...] | None = None
    failures: list[Failure] = []
    if bench.data is not None:
        items, failures = read_items(bench, "TruthfulQA.csv", question)
        rows = tuple(items)
    tasks = [
        Task(f"truthfulqa_{name}", ("acc",), ("question",), "validation", rows) for name in ("mc1", "mc2")
    ]
    found = await measure_all(bench, tasks)
    scores: dict[str, Score] = {}
    for model, measured in found.items():
        for name in ("mc1", "mc2"):
            if (score := share(measured[f"truthfulqa_{name}"], "acc")) is not None:
                scores[f"{name}/{model}"] = score
    table = [row for model, measured in found.items() for row in _rows(model, measured)]
    return Findings(scores, table, failures, said(found))


def question(number: int, row: Mapping[str, Any]) -> Row:
    """A row of TruthfulQA.csv in the columns of lm-eval's dataset: the true answers first.

    Two of the authors' questions list "Unknown" among the true and the false answers. It stays in both, as in
    their own scoring of the table.

    Raises:
        ItemError: a column is missing or empty, or the best answer is said to be false.
    """
    cells = {}
    for column in COLUMNS:
        value = row.get(column)
        if not isinstance(value, str) or not value.strip():
            raise ItemError("no text in a column", f"{column!r}; the columns are {', '.join(map(str, row))}")
        cells[column] = value.strip()
    true, false = _answers(cells["Correct Answers"]), _answers(cells["Incorrect Answers"])
    best = cells["Best Answer"]
    if best in false:
        raise ItemError("the best answer is among the false ones", best)
    return {
        "question": cells["Question"],
        "mc1_targets": _targets([best], false),
        "mc2_targets": _targets(true, false),
    }


def _answers(cell: str) -> list[str]:
    """The answers of a cell, each once."""
    return list(dict.fromkeys(answer for part in cell.split(";") if (answer := part.strip())))


def _targets(true: list[str], false: list[str]) -> Row:
    return {"choices": [*true, *false], "labels": [1] * len(true) + [0] * len(false)}


def _rows(model: str, measured: Mapping[str, Measured]) -> list[Row]:
    first, second = measured["truthfulqa_mc1"].items, measured["truthfulqa_mc2"].items
    return [
        {"model": model, "question": a["question"], "answer": a["answer"], "mc1": a["acc"], "mc2": b["acc"]}
        for a, b in zip(first, second, strict=True)
    ]
