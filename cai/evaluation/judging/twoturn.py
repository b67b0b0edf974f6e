"""Questions of two turns, and a model's answers: the second is given with its own first one before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cai.config.run_config import SamplingConfig
from cai.engines.engine import Engine
from cai.stages.generate import generate
from cai.values.errors import ItemError
from cai.values.types import Comparison, Conversation, Message, Prompt
from cai.values.words import excerpt

NEEDED = "two-turn questions: question_id, category and turns (two texts)"


@dataclass(frozen=True, slots=True)
class Question:
    """``references``: a correct answer to each turn, "" to one that has none."""

    id: str
    category: str
    turns: tuple[str, str]
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A model's two answers; ``cut``: how many of them ran into max_tokens."""

    question: Question
    answers: tuple[str, str]
    cut: int = 0

    def until(self, turn: int) -> Conversation:
        """The conversation up to the answer to ``turn`` (1 or 2)."""
        said = zip(self.question.turns[:turn], self.answers, strict=False)
        return tuple(m for asked, told in said for m in (Message("user", asked), Message("assistant", told)))

    @property
    def after_first(self) -> str:
        """All that follows the first question, as one text: a labeler compares texts."""
        first, second = self.answers
        # Not "Human:" and "Assistant:", which within a response are no turns (constitution/inert.py).
        asked = self.question.turns[1]
        return f"{first}\n\n[The human then asks] {asked}\n\n[The assistant answers] {second}"


def question_reader() -> Callable[[int, Mapping[str, Any]], Question]:
    """A ``build`` for ``items.read_items`` that refuses a question's second coming.

    ``prompt_id`` and ``prompt`` are read as other names of ``question_id`` and ``turns``.
    """
    seen: set[str] = set()

    def build(number: int, row: Mapping[str, Any]) -> Question:
        found = row.get("turns", row.get("prompt"))
        if found is None:
            columns = excerpt(", ".join(map(str, row)), 80)
            raise ItemError("missing column", f"no 'turns'; there are {columns}")
        if not isinstance(found, list) or len(found) != 2:
            raise ItemError("not two turns", "'turns' must be a list of two texts")
        if not all(isinstance(turn, str) and turn.strip() for turn in found):
            raise ItemError("not two turns", "both of 'turns' must hold text")
        name = row.get("question_id", row.get("prompt_id"))
        own = str(number) if name is None or name == "" else str(name)
        if own in seen:
            raise ItemError("repeated question", f"question_id {excerpt(own, 40)} was there before")
        seen.add(own)
        category = row.get("category")
        return Question(
            own, category if isinstance(category, str) else "", (found[0], found[1]), _references(row)
        )

    return build


def _references(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Raises ItemError where there is something else than a list of texts: a judge would be misled."""
    found = row.get("reference")
    if found is None or found == []:
        return ()
    if not isinstance(found, list) or not all(one is None or isinstance(one, str) for one in found):
        raise ItemError("not a list of texts", "'reference' must hold an answer to each turn")
    return tuple((one or "").strip() for one in found[:2])


async def converse(question: Question, engine: Engine, config: SamplingConfig, seed: int) -> Dialogue:
    """Both answers, one after the other.

    Raises:
        ItemError: one of them is empty, or does not fit into the model's context.
    """
    prompt = Prompt(f"{question.id}/1", (Message("user", question.turns[0]),))
    first = await generate(prompt, engine, config, seed)
    said = (*prompt.answered(first.text), Message("user", question.turns[1]))
    second = await generate(Prompt(f"{question.id}/2", said), engine, config, seed)
    cut = (first.finish == "length") + (second.finish == "length")
    return Dialogue(question, (first.text, second.text), cut)


def against(one: Dialogue, other: Dialogue) -> Comparison:
    """Two models' dialogues as a pair of responses to the first question."""
    prompt = Prompt(one.question.id, (Message("user", one.question.turns[0]),))
    return Comparison(one.question.id, prompt, one.after_first, other.after_first)
