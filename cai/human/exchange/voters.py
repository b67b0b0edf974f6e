"""Who voted, as a row says it: a column that names the annotator, and whether that is a person or a model.

A label that a model made does not count as a person's where the file says so: by a column of kinds
(``annotator_type: model``), by a column that names a judging model, by a name ``ai:…``, or by a name that
only a model has (``gpt-4``).
"""

from __future__ import annotations

import re
from typing import Literal

from cai.data.turns import listed
from cai.human.exchange.fields import Row, optional
from cai.human.pairs import Options, parse_source, tidy_name
from cai.values.types import Source

PEOPLE = (
    "annotator",
    "annotator_id",
    "annotator_name",
    "judge",
    "judge_id",
    "worker",
    "worker_id",
    "workerid",
    "rater",
    "rater_id",
    "labeler",
    "labeler_id",
    "labeller",
    "evaluator",
    "evaluator_id",
    "voter",
    "reviewer",
    "participant_id",
)
_MODELS = tuple(f"{who}_model" for who in ("judge", "annotator", "labeler", "rater", "evaluator", "feedback"))
_KINDS = (
    "annotator_type",
    "annotator_kind",
    "judge_type",
    "labeler_type",
    "rater_type",
    "evaluator_type",
    "source_type",
    "label_source",
    "label_type",
    "annotation_type",
    "annotation_source",
    "feedback_type",
    "source",
)
_AI = frozenset(
    ("ai", "model", "llm", "machine", "synthetic", "rlaif", "automatic", "auto", "bot", "ai_model")
)
_HUMAN = frozenset(("human", "person", "people", "crowd", "expert", "manual", "rlhf"))
_NOBODY = ("nan", "NaN", "None", "null", "NULL", "<NA>")  # what programs write into an empty cell
# A family's name and a version: a person may be called Claude, and no person claude-2.
_FAMILY = re.compile(
    r"(?:.*/)?(?:gpt|chatgpt|claude|gemini|gemma|llama|mistral|mixtral|qwen|deepseek|palm|command|vicuna|"
    r"prometheus|text-davinci)(?:[-_ ]?v?\d|[-_ ](?:instant|pro|flash|large|medium|small|turbo|chat|opus|"
    r"sonnet|haiku|r|mini)\b).*",
    re.IGNORECASE,
)


def voter(row: Row, options: Options, otherwise: str, column: str | None = None) -> Source:
    """Who voted: the name in ``column`` or in a known one, else ``otherwise`` (or what the user says).

    Raises:
        ItemError: the column holds no name.
    """
    kind = kind_of(row)
    names = PEOPLE if column is None else (column,)
    name = next((found for name in names if (found := _name(row, name))), None)
    if name is None and (model := next((m for c in _MODELS if (m := _name(row, c))), None)) is not None:
        return Source("ai", model)
    if name is None:
        by = options.by(otherwise, kind or "human")
        return Source("ai", by.name) if kind == "ai" else by
    said = parse_source(name)
    if said.kind == "ai" or kind == "ai" or (kind is None and _FAMILY.fullmatch(name)):
        return Source("ai", said.name)
    return said


def kind_of(row: Row) -> Literal["ai", "human"] | None:
    """What the row says of its voter; None where it says nothing."""
    for column in _KINDS:
        found = row.get(column)
        word = found.strip().casefold() if isinstance(found, str) else ""
        if column == "source" and word != "ai":
            continue  # of the prompt, in most files
        if word in _AI:
            return "ai"
        if word in _HUMAN:
            return "human"
    if isinstance(row.get("is_human"), bool):
        return "human" if row["is_human"] else "ai"
    return None


def _name(row: Row, column: str) -> str | None:
    found = listed(row.get(column))
    if isinstance(found, list) and found and all(isinstance(part, str) for part in found):
        return tidy_name("/".join(found))  # MT-bench: ["gpt-4", "pair-v2"]
    name = tidy_name(optional(row, column) or "")
    return name if name and name not in _NOBODY else None
