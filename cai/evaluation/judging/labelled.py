"""Answers that people have labelled, and how far the judge agrees with them, question by question.

    {"prompt": text or turns, "response": text, "harmful": true, "refused": 0, …}

Labels are true, false, 1 or 0; an empty cell means that nobody said. Several rows may share a prompt:
intervals are between prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai.data.tables import Row
from cai.evaluation.judging.grading import Judge, asked, p_yes
from cai.evaluation.judging.judge import QUESTIONS
from cai.evaluation.judging.labelled_pairs import text, turns
from cai.run.journal import digest
from cai.statistics.auc import auc
from cai.statistics.kappa import kappa
from cai.statistics.prediction import PairScore, accuracy
from cai.values.errors import ItemError
from cai.values.types import Prompt, Score, as_messages
from cai.values.words import excerpt

NEEDED = f"labelled answers: prompt, response, and any of {', '.join(QUESTIONS)} as true or false"
_YES, _NO = {"true", "1", "1.0", "yes"}, {"false", "0", "0.0", "no"}


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer and what people said of it, by question. ``prompt.id`` is the row's own."""

    prompt: Prompt
    group: str  # the same for every answer to the same prompt
    response: str
    labels: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Judged:
    """``p``: the judge's P(yes) for every question that people answered."""

    item: Labelled
    p: Mapping[str, float]


def answer_from(number: int, given: Mapping[str, Any]) -> Labelled:
    """A row of the file.

    Raises:
        ItemError: a column is missing, there is no text in it, or nothing is labelled.
    """
    if given.get("prompt") is None:
        columns = excerpt(", ".join(map(str, given)), 80)
        raise ItemError("missing column", f"no 'prompt'; there are {columns}")
    messages, response = turns(given["prompt"], "'prompt'"), text(given, "response")
    if messages[-1].role != "user" or not messages[-1].content.strip():
        raise ItemError("no prompt", "'prompt' must end with the user's turn")
    if not response.strip():
        raise ItemError("empty response", "'response' must hold text")
    labels = {name: label for name in QUESTIONS if (label := _label(given, name)) is not None}
    if not labels:
        raise ItemError("no label", f"any of {', '.join(QUESTIONS)} is needed")
    group = digest(as_messages(messages))[:16]
    return Labelled(Prompt(f"row-{number}", messages), group, response, labels)


def _label(given: Mapping[str, Any], name: str) -> bool | None:
    found = given.get(name)
    if found is None or (isinstance(found, float) and math.isnan(found)) or str(found).strip() == "":
        return None
    word = str(found).strip().lower()
    if word not in _YES | _NO:
        raise ItemError("odd label", f"'{name}' is {excerpt(ascii(found), 40)}; it is true, false, 1 or 0")
    return word in _YES


async def ask(item: Labelled, judge: Judge) -> Judged:
    """The judge's answers to the questions that people answered.

    Raises:
        ItemError: one of them cannot be read.
    """
    conversation = item.prompt.answered(item.response)
    return Judged(item, {name: await p_yes(judge, conversation, QUESTIONS[name]) for name in item.labels})


def figures(judged: Sequence[Judged]) -> dict[str, Score]:
    """``<question>_agreement``, ``_kappa`` (both at the threshold 0.5) and ``_auc``, as far as they exist.

    κ needs two different answers among people's and the judge's, the area under the ROC curve both among
    people's. A P(yes) of exactly 0.5 agrees with neither label.
    """
    found: dict[str, Score | None] = {}
    for name in QUESTIONS:
        own = [one for one in judged if name in one.item.labels]
        pairs = [_as_pair(one, name) for one in own]
        found[f"{name}_agreement"] = accuracy(pairs)
        found[f"{name}_kappa"] = kappa(pairs)
        labels, groups = [one.item.labels[name] for one in own], [one.item.group for one in own]
        found[f"{name}_auc"] = auc(labels, [one.p[name] for one in own], groups)
    return {metric: score for metric, score in found.items() if score is not None}


def _as_pair(one: Judged, name: str) -> PairScore:
    """Yes and no as the two sides of a pair: agreement is then counted as everywhere else."""
    label = float(one.item.labels[name])
    return PairScore(one.item.prompt.id, one.item.group, "human", (), label, one.p[name] - 0.5)


def row(one: Judged) -> Row:
    """``<question>`` is people's label and ``p_<question>`` the judge's; null where people said nothing."""
    found = asked("judge", one.item.prompt, one.item.response)
    found |= {name: one.item.labels.get(name) for name in QUESTIONS}
    return found | {f"p_{name}": one.p.get(name) for name in QUESTIONS}
