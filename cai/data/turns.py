"""Turns of a conversation as any tool writes them.

    [{"role": "user", "content": "Hi"}]                                   chat form
    [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]       content in blocks
    [{"from": "human", "value": "Hi"}]                                    ShareGPT
    "[{'role': 'user', 'content': 'Hi'}]"                                 either, as a table's cell holds it

Roles have many names (``developer``, ``human``, ``gpt``, ``model``, in any letters). A tool's turn is the
user's, and a call of a tool the assistant's, each behind a word that says so: a conversation has three roles.
Blocks that are not text are refused: an answer to an image is no answer to the text around it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from cai.chat.dialogue import is_dialogue, parse_dialogue
from cai.values.errors import ItemError
from cai.values.types import Conversation, Message, Role
from cai.values.words import excerpt

ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "instruction"), "user"),
    **dict.fromkeys(("assistant", "model", "gpt", "ai", "bot", "chatbot", "chatgpt"), "assistant"),
}
_TOOL = {"tool", "function", "observation", "ipython", "tool_response", "function_response"}
_CALL = {"function_call", "tool_call"}
_SAID = ("content", "value", "text")
# A list whose first turn says who speaks, and the end of a list of turns.
_TURNS = re.compile(r"""\s*\[\s*\{\s*(["'])(?:role|from)\1\s*:\s*(["'])\w+\2\s*,""")
_ARRAY = re.compile(r"array\((?P<list>\[.*\]),\s*dtype=object\)", re.DOTALL)  # numpy, in one's own words
_CLOSED = re.compile(r"\}\s*\]")
MAX_CELL = 1 << 20  # characters of a cell that may hold a list


def shown(value: Any, length: int = 40) -> str:
    """A short, harmless form of any value for a message."""
    try:
        return excerpt(ascii(value), length)
    except RecursionError:
        return "something nested very deeply"


def listed(value: Any) -> Any:
    """The list or object that a text spells in JSON or as Python does; any other value as it is."""
    if not isinstance(value, str) or len(value) > MAX_CELL:
        return value
    cell = value.strip()
    if array := _ARRAY.fullmatch(cell):
        cell = array["list"]
    if cell[:1] + cell[-1:] not in ("[]", "{}"):
        return value
    for read in (json.loads, _python):
        try:
            found = read(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return found if isinstance(found, list | dict) else value
    return value


def _python(cell: str) -> Any:
    try:
        return ast.literal_eval(cell)
    except SyntaxError:
        # numpy prints the turns of a list without commas between them: [{…}\n {…}]
        return ast.literal_eval(cell.replace("}\n {", "},\n {"))


def spelt(value: Any) -> Any:
    """``listed``, where the list is of turns: a text that merely looks like a list stays a text.

    Raises:
        ItemError: a list of turns that is cut off, as a spreadsheet does after 32,767 characters.
    """
    found = listed(value)
    turns = [found] if isinstance(found, dict) else found
    if isinstance(turns, list) and turns and all(map(_is_turn, turns)):
        return turns
    if isinstance(found, str) and (begun := _TURNS.match(found)) and not _CLOSED.search(found, begun.end()):
        end = f"it ends after {len(found):,} characters with {shown(found[-20:])}"
        raise ItemError("cut off", f"a cell begins as a list of turns and has no end; {end}")
    return value


def _is_turn(found: Any) -> bool:
    if not isinstance(found, Mapping):
        return False
    role = found.get("role", found.get("from"))
    return isinstance(role, str) and any(name in found for name in _SAID)


def conversation(found: Any, what: str) -> Conversation:
    """A list of turns; system turns may only come first, and become one.

    Raises:
        ItemError: it is no list, or a turn has no role that is known or no text.
    """
    found = spelt(found)
    if isinstance(found, Mapping):
        found = [found]
    if not isinstance(found, list) or not found:
        raise ItemError("not a conversation", f"{what} must be a list of turns, not {shown(found)}")
    turns = [_turn(turn, f"{what}, turn {index}") for index, turn in enumerate(found, 1)]
    while len(turns) > 1 and turns[0].role == turns[1].role == "system":
        turns[:2] = [Message("system", f"{turns[0].content}\n\n{turns[1].content}")]
    for index, turn in enumerate(turns[1:], 2):
        if turn.role == "system":
            raise ItemError("not a turn", f"{what}, turn {index} has the role 'system', which comes first")
    if len(turns) > 1 and turns[0].role == "system" and not turns[0].content.strip():
        del turns[0]
    return tuple(turns)


def _turn(turn: Any, what: str) -> Message:
    if not isinstance(turn, Mapping):
        raise ItemError("not a turn", f"{what}: a 'role' and a text 'content' are needed")
    name = turn.get("role", turn.get("from"))
    role = name.strip().casefold() if isinstance(name, str) else ""
    said = next((turn[key] for key in _SAID if turn.get(key) is not None), None)
    if role in _TOOL:
        return Message("user", f"[tool result]\n{_text(said, what)}")
    if role in _CALL:
        return Message("assistant", f"[tool call]\n{_text(said, what)}")
    if role not in ROLES:
        raise ItemError("not a turn", f"{what} has the role {shown(name, 30)}")
    if ROLES[role] == "assistant" and (calls := turn.get("tool_calls") or turn.get("function_call")):
        before = f"{_text(said, what)}\n" if said else ""
        return Message("assistant", f"{before}[tool call]\n{_calls(calls, what)}")
    return Message(ROLES[role], _text(said, what))


def _text(said: Any, what: str) -> str:
    """The text of a turn whose content is a text or a list of blocks."""
    if isinstance(said, str):
        return said
    if not isinstance(said, list) or not said:
        raise ItemError("not a turn", f"{what}: a 'role' and a text 'content' are needed")
    parts = []
    for part in said:
        text = part.get("text") if isinstance(part, Mapping) else part
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if not isinstance(text, str) or kind not in ("text", "input_text", "output_text"):
            raise ItemError("not text", f"{what} has a part {shown(part)}")
        parts.append(text)
    return "".join(parts)


def _calls(calls: Any, what: str) -> str:
    try:
        return json.dumps(calls, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise ItemError("not a turn", f"{what} has tool calls that cannot be written") from None


def prompt(found: Any, what: str = "'prompt'") -> Conversation:
    """A prompt that is text (one user turn, or a dialogue of "Human:" and "Assistant:") or a list of turns.

    Where a dialogue ends with an empty "Assistant:", what stands before it is the prompt.
    """
    if isinstance(found, Mapping) and isinstance(found.get("messages"), list):
        found = found["messages"]
    found = spelt(found)
    if not isinstance(found, str):
        return conversation(found, what)
    if not is_dialogue(found):
        return (Message("user", found),)
    turns = parse_dialogue(found)
    return turns[:-1] if turns[-1].role == "assistant" and not turns[-1].content else turns


def before_answer(turns: Conversation) -> Conversation:
    """A conversation without the assistant's turn that ends it: the prompt that was answered."""
    return turns[:-1] if len(turns) > 1 and turns[-1].role == "assistant" else turns
