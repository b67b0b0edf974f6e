"""What was asked, of a row of anybody's file: its own column of prompts, under any of the names in use.

First match wins: ``prompt``, conversations (``messages``, ``conversations``, …), then names of a question in
text. Beside it are read ``system`` (a system turn), ``history`` (earlier turns) and, with ``instruction``,
``input`` or ``context`` (what the instruction is about). Nothing is guessed: a row without such a column has
no prompt. Names of columns are in small letters (``reading.folded``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai.data.turns import before_answer, conversation, listed, prompt, shown
from cai.values.errors import ItemError
from cai.values.types import Conversation, Message
from cai.values.words import excerpt

Row = Mapping[str, Any]

TALKS = ("messages", "conversations", "conversation", "dialog", "dialogue")
INSTRUCTIONS = ("instruction", "instructions")
TEXTS = (
    "question",
    *INSTRUCTIONS,
    "query",
    "user_prompt",
    "user_input",
    "input",
    "post",
    # of red-team lists: AdvBench and JailbreakBench, HarmBench, StrongREJECT, PRISM, WildJailbreak
    "goal",
    "behavior",
    "forbidden_prompt",
    "opening_prompt",
    "adversarial",
    "vanilla",
    "request",
)
_ABOUT = ("input", "context")  # of an instruction
_BEFORE = ("contextstring",)  # of a behavior (HarmBench)
NAMES = ("prompt", *TALKS, *TEXTS)


def asked(row: Row, names: tuple[str, ...] = NAMES) -> Conversation | None:
    """The conversation before the answer; None where no column of the row holds one.

    Raises:
        ItemError: the column that is there holds neither text nor turns.
    """
    name = next((name for name in names if row.get(name) not in (None, "", [])), None)
    if name is None:
        return None
    found = row[name]
    if isinstance(found, Mapping) and name != "prompt" and isinstance(found.get("full_text"), str):
        found = found["full_text"]  # webgpt_comparisons
    if name in TALKS:
        turns = before_answer(prompt(found, f"'{name}'"))
    elif name == "prompt":
        turns = prompt(found)
    else:
        turns = _question(name, found, row)
    return _with_system(row, (*_history(row), *turns))


def empty(row: Row, names: tuple[str, ...] = NAMES) -> str | None:
    """The first column of prompts that is there, of a row in which all of them are empty."""
    return next((name for name in names if name in row), None)


def _question(name: str, found: Any, row: Row) -> Conversation:
    if not isinstance(found, str):
        turns = prompt(found, f"'{name}'") if isinstance(found, list | Mapping) else None
        if turns is None:
            raise ItemError("not text", f"a prompt is text, not {excerpt(shown(found), 40)}")
        return turns
    turns = prompt(found, f"'{name}'")
    if len(turns) > 1:
        return turns
    text = turns[0].content
    if name in INSTRUCTIONS and (about := _first(row, _ABOUT)):
        return (Message("user", f"{text}\n\n{about}"),)
    if before := _first(row, _BEFORE):
        return (Message("user", f"{before}\n\n{text}"),)
    return (Message(turns[0].role, text),)


def _first(row: Row, names: tuple[str, ...]) -> str | None:
    return next((row[name] for name in names if isinstance(row.get(name), str) and row[name].strip()), None)


def _with_system(row: Row, turns: Conversation) -> Conversation:
    for name in ("system", "system_prompt"):
        said = row.get(name)
        if isinstance(said, str) and said.strip() and turns[0].role != "system":
            return (Message("system", said), *turns)
    return turns


def _history(row: Row) -> Conversation:
    """Earlier rounds, as pairs of question and answer (Alpaca's ``history``) or as turns."""
    found = listed(row.get("history"))
    if not isinstance(found, list) or not found:
        return ()
    turns: list[Message] = []
    for number, pair in enumerate(found, 1):
        if isinstance(pair, Mapping):
            return conversation(found, "'history'")
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(x, str) for x in pair):
            raise ItemError("not a conversation", f"'history', round {number}: a question and an answer")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return tuple(turns)
