"""The worked examples that a critic and a labeler are shown first: ``prompts/examples.yaml``.

``templates.py`` turns them into turns of a conversation, with the same templates as real requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from cai.config.yamlfile import Document, check, read_yaml
from cai.values.errors import FileError, Problem
from cai.values.readable import characters, invisible, wordless
from cai.values.types import Conversation, Message

EXAMPLES_FILE = "examples.yaml"


def _shown(text: str) -> str:
    if invisible(text):
        raise PydanticCustomError("invisible", f"has nothing in it that can be seen ({characters(text)})")
    return text


def _said(text: str) -> str:
    if wordless(text):
        message = f"has no letter, digit or symbol in it ({characters(text)})"
        raise PydanticCustomError("wordless", message)
    return text


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_shown)]
Words = Annotated[Text, AfterValidator(_said)]  # text that says something: a response may be "…", a rule not


class Entry(BaseModel):
    """Base of everything that people write in YAML: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Turn(Entry):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="who speaks")
    content: Text = Field(description="what is said")


def _one_turn(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def _asked(turns: list[Turn]) -> list[Turn]:
    if all(wordless(turn.content) for turn in turns):
        seen = characters("".join(turn.content for turn in turns))
        raise PydanticCustomError("wordless", f"has no letter, digit or symbol in it ({seen})")
    return turns


Turns = Annotated[
    Annotated[list[Turn], Field(min_length=1)],
    BeforeValidator(_one_turn, json_schema_input_type=str | list[Turn]),
    AfterValidator(_asked),
]


def conversation(turns: list[Turn]) -> Conversation:
    """The turns as a value."""
    return tuple(Message(turn.role, turn.content) for turn in turns)


@dataclass(frozen=True, slots=True)
class CritiqueExample:
    """``revision`` is None where the critique found nothing."""

    conversation: Conversation
    response: str
    principle: str
    critique: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class LabelExample:
    """Two responses, the better one's letter under ``principle``, and why."""

    conversation: Conversation
    a: str
    b: str
    principle: str
    better: Literal["A", "B"]
    thought: str


@dataclass(frozen=True, slots=True)
class Examples:
    """Worked examples, in the order in which they are shown."""

    critiques: tuple[CritiqueExample, ...]
    labels: tuple[LabelExample, ...]


class _Critique(Entry):
    prompt: Turns
    response: Text
    principle: Words
    critique: Words
    revision: Text | None = None


class _Label(Entry):
    prompt: Turns
    principle: Words
    a: Text
    b: Text
    better: Literal["A", "B"]
    thought: Words


class _File(Entry):
    critiques: list[_Critique]
    labels: list[_Label]


def read_examples(path: Path, no_problem: str) -> Examples:
    """Read and check the file. Raises FileError with every fault and its place.

    A critique without a revision must end with ``no_problem``, and only such a critique may.
    """
    document = read_yaml(path)
    content = check(_File, document)
    problems = _inconsistent(content, document, no_problem)
    if problems:
        raise FileError(problems)
    return Examples(
        tuple(
            CritiqueExample(conversation(c.prompt), c.response, c.principle, c.critique, c.revision)
            for c in content.critiques
        ),
        tuple(
            LabelExample(conversation(e.prompt), e.a, e.b, e.principle, e.better, e.thought)
            for e in content.labels
        ),
    )


def _inconsistent(content: _File, document: Document, no_problem: str) -> list[Problem]:
    problems = []
    for index, example in enumerate(content.critiques):
        at = ("critiques", index)
        if example.prompt[-1].role != "user":
            problems.append(document.problem((*at, "prompt"), "'prompt' must end with a user's turn"))
        if example.critique.endswith(no_problem) == (example.revision is not None):
            message = f"a critique ends with '{no_problem}' exactly when there is no 'revision'"
            problems.append(document.problem((*at, "critique"), message))
    for index, label in enumerate(content.labels):
        if label.prompt[-1].role != "user":
            message = "'prompt' must end with a user's turn"
            problems.append(document.problem(("labels", index, "prompt"), message))
    return problems
