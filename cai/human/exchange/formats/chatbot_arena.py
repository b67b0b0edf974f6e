"""Chatbot Arena, three generations. The vote is about two whole conversations shown side by side.

1. lmsys/chatbot_arena_conversations (2023) and lmarena-ai/arena-human-preference-100k: ``conversation_a``,
   ``conversation_b`` (turns), ``winner`` ("model_a", "model_b", "tie", "tie (bothbad)"), ``judge``,
   ``question_id`` (the question's: several judges, or one twice, may have answered it). MT-bench's human
   judgements (lmsys/mt_bench_human_judgments) have the same columns.
2. lmsys/lmsys-arena-human-preference-55k and the Kaggle file: ``prompt``, ``response_a``, ``response_b``,
   each a JSON list of texts, one per turn; ``winner_model_a``, ``winner_model_b``, ``winner_tie`` (0 or 1);
   ``id``.
3. lmarena-ai/arena-human-preference-140k (2025): as 1, but a turn's ``content`` is a list of parts
   (``type``, ``text``), ``winner`` may be "both_bad", and ``id`` and ``evaluation_session_id`` take the
   place of ``question_id`` and ``judge``.

Both sides get the same questions but answer each in their own way, so only conversations of one round are a
choice between two answers to one prompt; longer ones are rejected. Parts that are images are rejected.

Rows are written in the form of generation 1 and lose: how strong the preference is, ids, tags, comments, and
that a judge was a model. Other unscored votes than "both bad" cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cai.data.chosen import answers, value
from cai.data.turns import conversation, listed, shown
from cai.data.verdicts import Verdict, verdict
from cai.human.exchange.fields import Row, has, items, one_among, optional
from cai.human.exchange.format import Format, Read, first_name, in_order, one, word
from cai.human.exchange.voters import voter
from cai.human.pairs import Options, Vote, fingerprint
from cai.run.journal import digest
from cai.values.errors import ItemError
from cai.values.types import Conversation, Message, Preference, Source, as_messages

_WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
_LISTS = ("prompt", "response_a", "response_b")


def fits(row: Row) -> bool:
    return has(row, "conversation_a", "conversation_b", "winner") or has(row, *_LISTS, *_WINNERS)


def read(row: Row, options: Options) -> Iterator[Read]:
    if "conversation_a" in row:
        first, second = (
            conversation(items(row, column), f"'{column}'") for column in ("conversation_a", "conversation_b")
        )
        said = verdict(value(row, "winner"), "'winner'", ("model_a", "model_b"))
    else:
        first, second = _lists(row)
        said = _one_hot(row)
    messages, one_answer, other = answers(first, second)
    session = None if row.get("judge") else optional(row, "evaluation_session_id")
    yield Vote(
        messages,
        one_answer,
        other,
        said.p,
        Source("human", session) if session else voter(row, options, "chatbot-arena"),
        options.question,
        shown=True,
        unscored=said.unscored,
        key=optional(row, "id"),
        tags=options.tags,
    )


def _lists(row: Row) -> tuple[Conversation, Conversation]:
    asked, ours, theirs = (_texts(row, column) for column in _LISTS)
    if not len(asked) == len(ours) == len(theirs):
        raise ItemError("turns missing", f"{len(asked)} questions, {len(ours)} and {len(theirs)} answers")
    return _woven(asked, ours), _woven(asked, theirs)


def _texts(row: Row, column: str) -> list[str]:
    found = value(row, column)
    if isinstance(found, str) and (found := listed(cell := found)) is cell:
        raise ItemError("not JSON", f"'{column}' is {shown(cell)}")
    if not isinstance(found, list) or not all(isinstance(part, str) for part in found):
        raise ItemError("not a list of texts", f"'{column}' is {shown(found)}")
    return found


def _woven(asked: list[str], answered: list[str]) -> Conversation:
    turns = zip(asked, answered, strict=True)
    return tuple(turn for q, a in turns for turn in (Message("user", q), Message("assistant", a)))


def _one_hot(row: Row) -> Verdict:
    a, b, tie = (one_among(row, column, (0, 1)) for column in _WINNERS)
    if a + b + tie != 1:
        raise ItemError(
            "label contradicts itself", f"winner_model_a {a}, winner_model_b {b}, winner_tie {tie}"
        )
    return Verdict(1.0 if a else 0.0 if b else 0.5)


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    vote = in_order(one(votes))
    messages = vote.comparison.prompt.messages
    if len(messages) != 1:
        raise ItemError("conversation", "both sides answer every question themselves; only one round fits")
    sides = {
        f"conversation_{side}": [*as_messages(messages), {"role": "assistant", "content": answer}]
        for side, answer in (("a", vote.comparison.a), ("b", vote.comparison.b))
    }
    winner = word(vote, "model_a", "model_b", "tie (bothbad)")
    key = digest(fingerprint(vote), first_name(one(votes)))[:32]
    judge = vote.source.name if vote.source.kind == "human" else f"ai:{vote.source.name}"
    own = {"question_id": vote.comparison.prompt.id, "id": key}
    return {**own, **sides, "winner": winner, "judge": judge, "turn": 1}


FORMAT = Format(
    "chatbot-arena",
    "conversation_a, conversation_b and winner, or prompt, response_a, response_b and winner_model_a, "
    "winner_model_b, winner_tie",
    fits,
    read,
    write=write,
    loses="strength, ids, tags, comments, whether a judge was a person, conversations of several rounds",
)
