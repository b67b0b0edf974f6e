"""Labelled pairs of responses, from the rows that preference files have.

    {prompt, a, b, p}           p is P(a preferred), as in a run's data/preferences.parquet
    {prompt, chosen, rejected}  texts or lists of turns; without prompt, both are whole conversations
    {chosen, rejected}          whole dialogues in one string, "Human:" and "Assistant:" (hh-rlhf)

Optional: ``subset``, ``category`` (text) or ``tags`` (list) name the parts that a figure is given for,
``prompt_id`` the prompt, ``p_chosen`` how sure the label is. Where a file names the better response, which
one becomes ``a`` is drawn from the row's number: a model that likes the first one gains nothing by it. Who
voted is not read (``cai import`` reads annotators).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cai.chat.dialogue import is_dialogue, parse_dialogue
from cai.run.journal import derive_seed, digest
from cai.values.errors import ItemError
from cai.values.types import Comparison, Conversation, Message, Prompt, as_messages
from cai.values.words import excerpt

Row = Mapping[str, Any]
Shown = tuple[Conversation, str, str]  # the prompt and two answers
NEEDED = "preference pairs: prompt, chosen and rejected, or prompt, a, b and p (P of a)"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two different responses and the label's P(a preferred); ``parts`` are its categories."""

    comparison: Comparison
    p: float
    parts: tuple[str, ...] = ()

    @property
    def lengths(self) -> tuple[int, int]:
        """Characters of ``a`` and ``b``."""
        return len(self.comparison.a), len(self.comparison.b)


def pair_from(number: int, row: Row) -> Pair:
    """A row of a preference file.

    Raises:
        ItemError: columns are missing or odd, a response is empty, or the two are the same.
    """
    if "a" in row and "b" in row and "prompt" in row:
        shown = turns(row["prompt"], "'prompt'"), text(row, "a"), text(row, "b")
        return build(number, row, shown, share(row, "p"))
    if "chosen" not in row or "rejected" not in row:
        columns = excerpt(", ".join(map(str, row)), 80)
        raise ItemError("missing column", f"needed are chosen and rejected, or prompt, a, b and p: {columns}")
    p = share(row, "p_chosen") if row.get("p_chosen") is not None else 1.0
    return sided(number, row, _chosen(row), p)


def sided(number: int, row: Row, shown: Shown, p: float = 1.0) -> Pair:
    """``build``, of a row that names the better answer: it becomes ``a`` or ``b`` by the row's number."""
    pair = build(number, row, shown, p)
    if derive_seed("side", number) % 2:
        return pair
    return Pair(pair.comparison.swap(), 1.0 - p, pair.parts)


def build(number: int, row: Row, shown: Shown, p: float) -> Pair:
    """The pair of ``shown`` with P(its first answer preferred); its other columns are read from the row.

    Raises:
        ItemError: nobody can judge it: no prompt, an empty answer, or the same answer twice.
    """
    asked, a, b = shown[0], shown[1].strip(), shown[2].strip()
    if asked[-1].role != "user" or not asked[-1].content.strip():
        raise ItemError("no prompt", "the conversation before the responses must end with the user's turn")
    if not a or not b:
        raise ItemError("empty response", "both responses must hold text")
    if a == b:
        raise ItemError("identical responses", excerpt(a))
    own, found = row.get("prompt_id"), parts(row)
    name = own if isinstance(own, str) and own else digest(as_messages(asked))[:16]
    return Pair(Comparison(f"row-{number}", Prompt(name, asked, found), a, b), p, found)


def _chosen(row: Row) -> Shown:
    """The conversation, the chosen and the rejected answer."""
    chosen, rejected, asked = row["chosen"], row["rejected"], row.get("prompt")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if asked not in (None, "") and not (is_dialogue(chosen) and is_dialogue(rejected)):
            return turns(asked, "'prompt'"), chosen, rejected
        if not is_dialogue(chosen) and not is_dialogue(rejected):
            raise ItemError("no prompt", "there is no 'prompt', and the texts are no 'Human:' dialogues")
        return _answers(parse_dialogue(chosen), parse_dialogue(rejected))
    first, second = turns(chosen, "'chosen'"), turns(rejected, "'rejected'")
    if len(first) == len(second) == 1 and asked not in (None, ""):
        if {first[0].role, second[0].role} != {"assistant"}:
            raise ItemError("no answer", "beside a prompt, 'chosen' and 'rejected' are the assistant's turns")
        return turns(asked, "'prompt'"), first[0].content, second[0].content
    return _answers(first, second)


def _answers(first: Conversation, second: Conversation) -> Shown:
    """What two whole conversations share, and the answer that ends each."""
    if any(len(one) < 2 or one[-1].role != "assistant" for one in (first, second)):
        raise ItemError("no answer", "a conversation must end with the assistant's turn")
    if first[:-1] != second[:-1]:
        raise ItemError("prefixes differ", "the conversations part before their last answers")
    return first[:-1], first[-1].content, second[-1].content


def turns(value: Any, what: str) -> Conversation:
    """A text (one user turn) or a list of ``{"role", "content"}``.

    Raises:
        ItemError: it is neither, or empty.
    """
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, list) or not value:
        raise ItemError("not a conversation", f"{what} must be a text or a list of turns")
    for place, turn in enumerate(value):
        role = turn.get("role") if isinstance(turn, Mapping) else None
        known = role in ("user", "assistant") or (role == "system" and place == 0)
        if not known or not isinstance(turn.get("content"), str):
            raise ItemError(
                "not a turn", f"{what}, turn {place + 1}: a 'role' and a text 'content' are needed"
            )
    return tuple(Message(turn["role"], turn["content"]) for turn in value)


def text(row: Row, column: str) -> str:
    """Raises ItemError where the column is missing or holds no text."""
    if column not in row:
        raise ItemError("missing column", f"no '{column}'; there are {excerpt(', '.join(map(str, row)), 80)}")
    found = row[column]
    if not isinstance(found, str):
        raise ItemError("not text", f"'{column}' is {excerpt(ascii(found), 40)}")
    return found


def share(row: Row, column: str) -> float:
    """A number in [0, 1], also where it is written as text; an empty cell is an unscored pair."""
    found = row.get(column)
    if found is None or found == "":
        raise ItemError("no label", f"'{column}' is missing or empty")
    try:
        value = math.nan if isinstance(found, bool) else float(found)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise ItemError("label out of range", f"'{column}' is {excerpt(ascii(found), 40)}; it lies in [0, 1]")
    return value


def parts(row: Row) -> tuple[str, ...]:
    """``subset``, ``category`` or ``tags``: the first that holds a text or a list of texts."""
    for column in ("subset", "category", "tags"):
        found = row.get(column)
        names = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        kept = tuple(dict.fromkeys(name.strip() for name in names if isinstance(name, str) and name.strip()))
        if kept:
            return kept
    return ()
