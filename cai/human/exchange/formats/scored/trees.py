"""Trees of messages: OpenAssistant (oasst1, oasst2), as rows of messages and as whole trees.

Rows: ``message_id``, ``parent_id``, ``text``, ``role`` ("prompter", "assistant") and ``rank``, 0 for the
best of the answers to one message. Trees: ``prompt`` with ``text``, ``role`` and ``replies``, which hold
their own. Every two ranked answers to one message make a pair (``--pairs N``: at most N, the furthest apart
first), under the conversation that leads to it. Ranks are a consensus of several people, who are not named.
Messages without a rank, deleted ones and those whose parent is not in the file take no part. Rows of
messages are kept in memory until the end of the file, because a tree's rows need not stand together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from cai.data.turns import ROLES, shown
from cai.human.exchange.fields import Row, has, items, number, optional, table, text
from cai.human.exchange.format import Format, Numbered, Read
from cai.human.exchange.formats.scored.pairing import Placed, pairs
from cai.human.pairs import Options, Refusal
from cai.values.errors import ItemError
from cai.values.types import Conversation, Message

_DEPTH = 200  # messages in one conversation


def fits_rows(row: Row) -> bool:
    return has(row, "message_id", "parent_id", "text", "role", "rank")


def fits_trees(row: Row) -> bool:
    return isinstance(row.get("prompt"), Mapping) and isinstance(row["prompt"].get("replies"), list)


def gather(rows: Iterator[Numbered], options: Options) -> Iterator[tuple[tuple[int, ...], Read]]:
    messages: dict[str, tuple[Message, str | None]] = {}
    replies: dict[str, list[tuple[int, str, float]]] = defaultdict(list)
    for row_number, row in rows:
        try:
            key, parent, turn = text(row, "message_id"), optional(row, "parent_id"), _turn(row)
            messages[key] = (turn, parent)
            if turn.role != "assistant" or parent is None:
                raise ItemError("not an answer", "a message that was asked")
            if row.get("rank") in (None, ""):
                raise ItemError("no label", "the answer has no rank")
            replies[parent].append((row_number, turn.content, number(row, "rank")))
        except ItemError as error:
            yield (row_number,), Refusal.of(error)
    for parent, found in replies.items():
        numbers = {answer: row_number for row_number, answer, _ in found}
        try:
            asked = _path(messages, parent)
            if len(found) < 2:
                raise ItemError("no counterpart", "no other ranked answer to the same message")
        except ItemError as error:
            for row_number in numbers.values():
                yield (row_number,), Refusal.of(error)
            continue
        placed = [(answer, rank) for _, answer, rank in found]
        for vote in pairs(asked, placed, options.by("oasst"), options):
            yield (numbers[vote.first], numbers[vote.second]), vote


def _turn(row: Row) -> Message:
    role = ROLES.get(text(row, "role").strip().casefold())
    if role is None:
        raise ItemError("not a turn", f"the role is {shown(row['role'], 30)}")
    if row.get("deleted") in (True, "True", "true"):
        raise ItemError("deleted", "the message was taken back")
    return Message(role, text(row, "text"))


def _path(messages: Mapping[str, tuple[Message, str | None]], key: str | None) -> Conversation:
    """The conversation from the root to the message ``key``."""
    turns: list[Message] = []
    while key is not None:
        if key not in messages or len(turns) >= _DEPTH:
            raise ItemError("no prompt", "the messages that lead to it are not all in the file")
        turn, key = messages[key]
        turns.append(turn)
    return tuple(reversed(turns))


def read(row: Row, options: Options) -> Iterator[Read]:
    found = False
    for read in _node(table(row, "prompt"), (), options):
        found = True
        yield read
    if not found:
        raise ItemError("no pair", "no message of the tree has two ranked answers")


def _node(node: Row, before: Conversation, options: Options) -> Iterator[Read]:
    here = (*before, _turn(node))
    if len(here) > _DEPTH:
        raise ItemError("nested too deeply", f"more than {_DEPTH} messages in one conversation")
    replies: list[Any] = items(node, "replies") if node.get("replies") else []
    placed: list[Placed] = []
    for index, reply in enumerate(replies, 1):
        try:
            if not isinstance(reply, Mapping):
                raise ItemError("not an object", shown(reply))
            if here[-1].role == "user" and reply.get("rank") is not None:
                placed.append((_turn(reply).content, number(reply, "rank")))
        except ItemError as error:
            yield Refusal.of(error, f"reply {index}")
    if len(placed) > 1:
        yield from pairs(here, placed, options.by("oasst"), options)
    for index, reply in enumerate(replies, 1):
        if isinstance(reply, Mapping):
            try:
                yield from _node(reply, here, options)
            except ItemError as error:
                yield Refusal.of(error, f"reply {index}")


ROWS = Format(
    "message-rows",
    "message_id, parent_id, text, role and rank (OpenAssistant's messages)",
    fits_rows,
    gather=gather,
)
TREES = Format(
    "message-trees", "prompt with text, role and replies (OpenAssistant's trees)", fits_trees, read
)
