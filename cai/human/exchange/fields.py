"""Values out of rows that anybody may have written: every helper checks, or raises ItemError saying where."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cai.human.pairs import BOTH_BAD
from cai.values.errors import ItemError
from cai.values.types import Conversation, Message
from cai.values.words import excerpt, one_of

Row = Mapping[str, Any]


def shown(value: Any, length: int = 40) -> str:
    """A short, harmless form of any value for a message."""
    try:
        return excerpt(ascii(value), length)
    except RecursionError:
        return "something nested very deeply"


def has(row: Row, *columns: str) -> bool:
    """Whether every column is there (its value may be empty)."""
    return all(column in row for column in columns)


def value(row: Row, column: str) -> Any:
    """The value of a column that must be there and hold something."""
    if column not in row:
        raise ItemError("missing column", f"no '{column}'; there are {excerpt(', '.join(map(str, row)), 80)}")
    if row[column] is None:
        raise ItemError("empty cell", f"'{column}' has no value")
    return row[column]


def text(row: Row, column: str) -> str:
    found = value(row, column)
    if not isinstance(found, str):
        raise ItemError("not text", f"'{column}' is {shown(found)}")
    return found


def optional(row: Row, column: str) -> str | None:
    """A text or number as text; None where the column is missing or empty."""
    found = row.get(column)
    if found is None or found == "":
        return None
    if isinstance(found, float) and found.is_integer():
        found = int(found)  # spreadsheets hold every number as a float
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise ItemError("not text", f"'{column}' is {shown(found)}")
    return str(found)


def number(row: Row, column: str) -> float:
    """A finite number, also where it is written as text."""
    found = value(row, column)
    try:
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            raise ValueError
        result = float(found)
    except (ValueError, OverflowError):
        raise ItemError("not a number", f"'{column}' is {shown(found)}") from None
    if not math.isfinite(result):
        raise ItemError("not a number", f"'{column}' is {found}")
    return result


def one_among(row: Row, column: str, allowed: tuple[float, ...]) -> int:
    """A whole number among ``allowed``."""
    found = number(row, column)
    if found not in allowed:
        wanted = one_of([str(int(a)) for a in allowed])
        raise ItemError("label out of range", f"'{column}' is {found:g}; it must be {wanted}")
    return int(found)


def probability(row: Row, column: str) -> float:
    found = number(row, column)
    if not 0.0 <= found <= 1.0:
        raise ItemError("label out of range", f"'{column}' is {found:g}; it must lie in [0, 1]")
    return found


def table(row: Row, column: str) -> Mapping[str, Any]:
    found = value(row, column)
    if not isinstance(found, Mapping):
        raise ItemError("not an object", f"'{column}' is {shown(found)}")
    return found


def items(row: Row, column: str) -> list[Any]:
    found = value(row, column)
    if not isinstance(found, list):
        raise ItemError("not a list", f"'{column}' is {shown(found)}")
    return found


def texts(row: Row, column: str) -> tuple[str, ...]:
    """A list of texts; nothing where the column is missing or empty."""
    found = row.get(column) or []
    if not isinstance(found, list | tuple) or not all(isinstance(part, str) for part in found):
        raise ItemError("not a list of texts", f"'{column}' is {shown(found)}")
    return tuple(found)


def weight(row: Row) -> float:
    """The column ``weight``, 1 where it is missing."""
    if row.get("weight") in (None, ""):
        return 1.0
    found = number(row, "weight")
    if found < 0:
        raise ItemError("label out of range", f"'weight' is {found:g}; it must be at least 0")
    return found


def conversation(found: Any, what: str) -> Conversation:
    """A list of ``{"role", "content"}``; a system turn may only come first."""
    if not isinstance(found, list) or not found:
        raise ItemError("not a conversation", f"{what} must be a list of turns, not {shown(found)}")
    turns = []
    for index, turn in enumerate(found, 1):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            raise ItemError("not a turn", f"{what}, turn {index}: a 'role' and a text 'content' are needed")
        role = turn.get("role")
        if role not in ("system", "user", "assistant") or (role == "system" and index > 1):
            raise ItemError("not a turn", f"{what}, turn {index} has the role {shown(role, 30)}")
        turns.append(Message(role, turn["content"]))
    return tuple(turns)


def prompt(found: Any, what: str = "'prompt'") -> Conversation:
    """A prompt that is text (one user turn) or a list of turns."""
    return (Message("user", found),) if isinstance(found, str) else conversation(found, what)


def answers(first: Conversation, second: Conversation) -> tuple[Conversation, str, str]:
    """What two whole conversations have in common, and the answer that ends each.

    Raises:
        ItemError: one does not end with an answer, or they differ before it. Then the vote is about several
            turns at once, and no single answer is what was preferred.
    """
    for turns in (first, second):
        if len(turns) < 2 or turns[-1].role != "assistant":
            raise ItemError("no answer", "a conversation must end with the assistant's turn")
    if first[:-1] != second[:-1]:
        turn = next((n for n, (x, y) in enumerate(zip(first, second, strict=False), 1) if x != y), 0)
        raise ItemError("prefixes differ", f"the conversations part at turn {turn}, before the last answer")
    return first[:-1], first[-1].content, second[-1].content


@dataclass(frozen=True, slots=True)
class Verdict:
    """P(first preferred); None with the reason where there is none."""

    p: float | None
    unscored: str | None = None


_FIRST = {"a", "1", "left", "first", "model_a", "response_a", "response_1", "response1", "answer1"}
_SECOND = {"b", "2", "right", "second", "model_b", "response_b", "response_2", "response2", "answer2"}
_TIE = {"tie", "draw", "equal", "same"}
_BOTH_BAD = {"both_bad", "bothbad", "tie_(bothbad)", "tie_(both_bad)", "neither"}


def verdict(found: Any, what: str, names: tuple[str, str] = ("a", "b")) -> Verdict:
    """A choice in words: a side, a tie or both bad. ``names`` are what the file calls the two sides."""
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise ItemError("not a choice", f"{what} is {shown(found)}")
    word = str(found).strip()
    if word in names:
        return Verdict(1.0 if word == names[0] else 0.0)
    word = word.casefold().replace(" ", "_").replace("-", "_")
    if word in _FIRST:
        return Verdict(1.0)
    if word in _SECOND:
        return Verdict(0.0)
    if word in _TIE:
        return Verdict(0.5)
    if word in _BOTH_BAD:
        return Verdict(None, BOTH_BAD)
    raise ItemError("label out of range", f"{what} is {shown(found)}; it must be a, b, tie or both_bad")


def from_json(found: str, what: str) -> Any:
    """A cell that holds JSON."""
    try:
        return json.loads(found)
    except (ValueError, RecursionError):
        raise ItemError("not JSON", f"{what} is {shown(found)}") from None
