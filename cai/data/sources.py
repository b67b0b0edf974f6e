"""Prompts from files and datasets; rows that cannot be used are failures with a number and a reason.

The prompt of a row is what ``asked.py`` finds in it, in any of the forms that people have; else what stands
before the last answer of ``chosen`` (a dialogue or a list of turns), the first of ``turns``, or ``text``. A
column may be named instead. Besides, ``id`` and ``tags`` are read. A row without an id gets one from its
content, so that to insert or remove a row changes no other id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cai.chat.dialogue import is_dialogue, parse_dialogue
from cai.data.asked import NAMES, asked
from cai.data.markers import marked
from cai.data.reading import folded, read_rows
from cai.data.rows import Unreadable, plain_name
from cai.data.texts import tidy
from cai.data.turns import conversation, listed, prompt, spelt
from cai.values.errors import FileError, ItemError, Problem
from cai.values.readable import invisible
from cai.values.types import Conversation, Failure, Message, Prompt, as_messages
from cai.values.words import did_you_mean, excerpt

MAX_CHARS = 200_000
STAGE = "prompts"


@dataclass(slots=True)
class Reading:
    """What a source held. ``duplicates`` counts rows that repeat an earlier conversation (``texts.tidy``).

    ``notes`` say how the file was read: its encoding, its delimiter.
    """

    prompts: list[Prompt] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    duplicates: int = 0
    notes: list[str] = field(default_factory=list)


def read_prompts(spec: str, limit: int | None = None) -> tuple[list[Prompt], list[Failure]]:
    """The first ``limit`` usable prompts of ``spec``, and the rows before them that are not usable.

    Raises FileError or UsageError when there is no such source or not one usable prompt in it.
    """
    reading = read(spec, limit)
    return reading.prompts, reading.failures


def read(spec: str, limit: int | None = None, column: str | None = None) -> Reading:
    """As ``read_prompts``, with the number of duplicates. Stops reading at the limit.

    ``column`` holds the prompts, whatever it is called.
    """
    rows = read_rows(spec)
    reading = Reading(notes=rows.notes)
    rows_of: dict[str, int] = {}
    seen: set[str] = set()
    for number, row in rows:
        if limit is not None and len(reading.prompts) >= limit:
            break
        try:
            if isinstance(row, Unreadable):
                raise ItemError("unreadable row", row.reason)
            prompt, content = _prompt(row, column)
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


def _prompt(row: Mapping[str, Any], column: str | None) -> tuple[Prompt, str]:
    """The prompt of a row, and what it has in common with rows that repeat it."""
    by_name = {str(name): value for name, value in folded(row).items() if name is not None}
    messages = _conversation(by_name if column is None else _named(by_name, column))
    size = sum(len(turn.content) for turn in messages)
    if size > MAX_CHARS:
        raise ItemError("too long", f"{size:,} characters; the limit is {MAX_CHARS:,}")
    for turn in messages:
        if invisible(turn.content):
            raise ItemError("empty turn" if len(messages) > 1 else "empty prompt")
        _require_text(turn.content)
    if messages[-1].role != "user":
        raise ItemError("no question", f"the last turn is the {messages[-1].role}'s; it must be the user's")
    turns = as_messages(messages)
    given = _id(by_name.get("id"))
    same = _digest([turn | {"content": tidy(turn["content"])} for turn in turns])
    return Prompt(given or f"p-{_digest(turns)[:16]}", messages, _tags(by_name.get("tags"))), same


def _digest(turns: list[dict[str, str]]) -> str:
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()


def _named(row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """The row with the column that the user named in the place of all others that could hold a prompt."""
    name = column if column in row else plain_name(column)
    if name not in row:
        raise ItemError(
            "missing column", f"no '{column}' among {excerpt(', '.join(row), 80)}{did_you_mean(name, row)}"
        )
    if row[name] in (None, ""):
        raise ItemError("empty prompt", f"column '{column}' is empty")
    kept = {other: cell for other, cell in row.items() if other in ("id", "tags")}
    return kept | {
        name if name in _OTHERS else "messages" if isinstance(spelt(row[name]), list) else "prompt": row[name]
    }


def _require_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ItemError("not UTF-8", f"at character {error.start + 1}: {excerpt(ascii(text), 40)}") from None


def _conversation(row: Mapping[str, Any]) -> Conversation:
    if row.get("parent_id") not in (None, "") and "role" in row:
        raise ItemError("not a first message", "it follows another, which is not in its row")
    found = asked(row)
    if found is not None:
        return found
    for column, interpret in _OTHERS.items():
        # A table may have several of these columns and leave some of them empty in a row.
        if row.get(column) not in (None, ""):
            return interpret(row[column])
    known = (*NAMES, *_OTHERS)
    for column in known:
        if column in row:
            raise ItemError("empty prompt", f"column '{column}' is empty")
    columns = excerpt(", ".join(row), 80) or "none"
    raise ItemError("no prompt", f"no column of prompts (--column names one) among {columns}")


def _before_last_answer(value: Any) -> Conversation:
    value = spelt(value)
    if isinstance(value, str):
        turns = parse_dialogue(value) if is_dialogue(value) else marked(value) or parse_dialogue(value)
    else:
        turns = conversation(value, "'chosen'")
    if turns[-1].role != "assistant" or len(turns) < 2:
        raise ItemError("no answer", "'chosen' must end with the assistant's turn")
    return turns[:-1]


def _first_turn(value: Any) -> Conversation:
    value = listed(value)
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        raise ItemError("not text", "'turns' must be a list of texts")
    return (Message("user", value[0]),)


def _text(value: Any) -> Conversation:
    return prompt(value, "'text'")


_OTHERS: Mapping[str, Callable[[Any], Conversation]] = {
    "chosen": _before_last_answer,
    "turns": _first_turn,
    "text": _text,
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
