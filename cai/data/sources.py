"""Prompts from files and datasets; rows that cannot be used are failures with a number and a reason.

Columns that are understood, first match wins: ``prompt`` (text or a list of turns), ``messages``,
``chosen`` (a dialogue or a list of turns: all but the last answer), ``turns`` (the first), ``question``,
``instruction`` (with ``input``), ``text``; besides ``id`` and ``tags``. A row without an id gets one from
its content, so that to insert or remove a row changes no other id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cai.chat.dialogue import is_dialogue, parse_dialogue
from cai.data.rows import Unreadable, read_rows
from cai.values.errors import FileError, ItemError, Problem
from cai.values.types import Conversation, Failure, Message, Prompt, as_messages
from cai.values.words import excerpt

MAX_CHARS = 200_000
STAGE = "prompts"


@dataclass(slots=True)
class Reading:
    """What a source held. ``duplicates`` counts rows that repeat an earlier conversation exactly."""

    prompts: list[Prompt] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    duplicates: int = 0


def read_prompts(spec: str, limit: int | None = None) -> tuple[list[Prompt], list[Failure]]:
    """The first ``limit`` usable prompts of ``spec``, and the rows before them that are not usable.

    Raises FileError or UsageError when there is no such source or not one usable prompt in it.
    """
    reading = read(spec, limit)
    return reading.prompts, reading.failures


def read(spec: str, limit: int | None = None) -> Reading:
    """As ``read_prompts``, with the number of duplicates. Stops reading at the limit."""
    reading = Reading()
    rows_of: dict[str, int] = {}
    seen: set[str] = set()
    for number, row in read_rows(spec):
        if limit is not None and len(reading.prompts) >= limit:
            break
        try:
            if isinstance(row, Unreadable):
                raise ItemError("unreadable row", row.reason)
            prompt, content = _prompt(row)
            if content in seen:
                reading.duplicates += 1
                continue
            first = rows_of.setdefault(prompt.id, number)
            if first != number:
                raise ItemError("id used twice", f"'{prompt.id}' is the id of row {first}")
        except ItemError as error:
            reading.failures.append(Failure(STAGE, f"row {number}", error.reason, error.detail))
            continue
        seen.add(content)
        reading.prompts.append(prompt)
    if not reading.prompts:
        raise FileError([_nothing(spec, reading.failures)])
    return reading


def _nothing(spec: str, failures: Sequence[Failure]) -> Problem:
    if not failures:
        return Problem(spec, "no rows in it")
    first = failures[0]
    why = f"{first.reason}: {first.detail}" if first.detail else first.reason
    return Problem(spec, f"no usable prompt in {len(failures)} rows; {first.item}: {why}")


def _prompt(row: Mapping[str, Any]) -> tuple[Prompt, str]:
    """The prompt of a row, and the hash of its conversation."""
    by_name = {str(name).strip().casefold(): value for name, value in row.items() if name is not None}
    messages = _conversation(by_name)
    size = sum(len(turn.content) for turn in messages)
    if size > MAX_CHARS:
        raise ItemError("too long", f"{size:,} characters; the limit is {MAX_CHARS:,}")
    for turn in messages:
        if not turn.content.strip():
            raise ItemError("empty turn" if len(messages) > 1 else "empty prompt")
        _require_text(turn.content)
    if messages[-1].role != "user":
        raise ItemError("no question", f"the last turn is the {messages[-1].role}'s; it must be the user's")
    content = hashlib.sha256(json.dumps(as_messages(messages)).encode()).hexdigest()
    given = _id(by_name.get("id"))
    return Prompt(given or f"p-{content[:16]}", messages, _tags(by_name.get("tags"))), content


def _require_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ItemError("not UTF-8", f"at character {error.start + 1}: {excerpt(ascii(text), 40)}") from None


def _conversation(row: Mapping[str, Any]) -> Conversation:
    for column, interpret in _COLUMNS.items():
        # A table may have several of these columns and leave some of them empty in a row.
        if row.get(column) not in (None, ""):
            return interpret(row[column], row)
    for column in _COLUMNS:
        if column in row:
            raise ItemError("empty prompt", f"column '{column}' is empty")
    columns = excerpt(", ".join(row), 80)
    raise ItemError("no prompt", f"none of the columns {', '.join(_COLUMNS)}; there are {columns or 'none'}")


def _text_or_turns(value: Any, row: Mapping[str, Any]) -> Conversation:
    if isinstance(value, str):
        return parse_dialogue(value) if is_dialogue(value) else (Message("user", value),)
    return _turns(value)


def _turns(value: Any) -> Conversation:
    if not isinstance(value, list) or not value:
        raise ItemError("not text", f"a prompt is text or a list of turns, not {excerpt(ascii(value), 40)}")
    turns = []
    for index, turn in enumerate(value, 1):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            raise ItemError("not a turn", f"turn {index} must have a 'role' and a text 'content'")
        role = turn.get("role")
        if role not in ("system", "user", "assistant") or (role == "system" and index > 1):
            raise ItemError("not a turn", f"turn {index} has the role {excerpt(ascii(role), 30)}")
        turns.append(Message(role, turn["content"]))
    return tuple(turns)


def _before_last_answer(value: Any, row: Mapping[str, Any]) -> Conversation:
    turns = parse_dialogue(value) if isinstance(value, str) else _turns(value)
    if turns[-1].role != "assistant" or len(turns) < 2:
        raise ItemError("no answer", "'chosen' must end with the assistant's turn")
    return turns[:-1]


def _first_turn(value: Any, row: Mapping[str, Any]) -> Conversation:
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        raise ItemError("not text", "'turns' must be a list of texts")
    return (Message("user", value[0]),)


def _plain(value: Any, row: Mapping[str, Any]) -> Conversation:
    if not isinstance(value, str):
        raise ItemError("not text", f"a prompt is text, not {excerpt(ascii(value), 40)}")
    return (Message("user", value),)


def _instruction(value: Any, row: Mapping[str, Any]) -> Conversation:
    (turn,) = _plain(value, row)
    extra = row.get("input")
    return (Message("user", f"{turn.content}\n\n{extra}"),) if isinstance(extra, str) and extra else (turn,)


_COLUMNS: Mapping[str, Callable[[Any, Mapping[str, Any]], Conversation]] = {
    "prompt": _text_or_turns,
    "messages": _text_or_turns,
    "chosen": _before_last_answer,
    "turns": _first_turn,
    "question": _plain,
    "instruction": _instruction,
    "text": _text_or_turns,
}


def _id(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or len(str(value)) > 200:
        raise ItemError("bad id", f"an id is a short text or a number, not {excerpt(ascii(value), 40)}")
    _require_text(str(value))
    return str(value)


def _tags(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = [tag.strip() for tag in value.split(",")]
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise ItemError("bad tags", f"tags are texts, not {excerpt(ascii(value), 40)}")
    for tag in value:
        _require_text(tag)
    return tuple(tag for tag in value if tag)
