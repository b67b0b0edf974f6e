"""The preferred and the other answer of a row of anybody's file, and what was asked.

    {prompt, chosen, rejected}      answers alone, as text, a turn, or a list of one
    {chosen, rejected}              whole conversations, as turns or as one text with marks of turns
    {…, chosen: [x], rejected: […]} one (or more) against several: ``spread`` makes a row of every pair

The file's own question wins (``asked.py``). Only without one is what two answers begin with taken for the
prompt, and only where it ends at the end of a turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai.chat.dialogue import is_dialogue, parse_dialogue
from cai.data.asked import asked
from cai.data.markers import marked
from cai.data.turns import conversation, listed, spelt
from cai.values.errors import ItemError
from cai.values.types import Conversation
from cai.values.words import excerpt

Row = Mapping[str, Any]
Shown = tuple[Conversation, str, str]  # the prompt and two answers


def chosen_rejected(row: Row, names: tuple[str, str] = ("chosen", "rejected")) -> Shown:
    """The prompt, the chosen and the rejected answer.

    Raises:
        ItemError: a column holds neither, there is no prompt, or the conversations part before their ends.
    """
    chosen, rejected = (spelt(value(row, name)) for name in names)
    if isinstance(chosen, str) and isinstance(rejected, str):
        if is_dialogue(chosen) and is_dialogue(rejected) and not isinstance(row.get("prompt"), list):
            return answers(parse_dialogue(chosen), parse_dialogue(rejected))
        question, first, second = asked(row), marked(chosen), marked(rejected)
        if question is not None and not _repeats(question, first, second):
            return question, chosen, rejected
        if first is None or second is None:
            raise ItemError(
                "no prompt", "no column of prompts, and the texts are no conversations with marks"
            )
        return answers(first, second)
    first, second = (
        conversation([{"role": "assistant", "content": f}] if isinstance(f, str) else f, f"'{name}'")
        for f, name in zip((chosen, rejected), names, strict=True)
    )
    if len(first) == len(second) == 1:
        question = asked(row)
        if question is None:
            raise ItemError("no prompt", "no column of prompts, and the answers are one turn each")
        return question, answer(first, names[0]), answer(second, names[1])
    return _whole(row, first, second, names)


def spread(row: Row) -> list[Row]:
    """A row for every pair of one answer against several (RewardBench 2); any other row is its own only pair.

    A text counts as a list of one beside a list; two texts are lists where both spell one.
    """
    if "chosen" not in row or "rejected" not in row:
        return [row]
    good, bad = _several(row["chosen"]), _several(row["rejected"])
    if good is None and isinstance(row["chosen"], str) and isinstance(row["rejected"], list):
        good = [row["chosen"]]
    if bad is None and isinstance(row["rejected"], str) and isinstance(row["chosen"], list):
        bad = [row["rejected"]]
    if not good or not bad:
        return [row]
    return [{**row, "chosen": one, "rejected": other} for one in good for other in bad]


def _several(found: Any) -> list[str] | None:
    found = listed(found)
    return found if isinstance(found, list) and found and all(isinstance(x, str) for x in found) else None


def _whole(row: Row, first: Conversation, second: Conversation, names: tuple[str, str]) -> Shown:
    """Whole conversations. A question beside them is theirs; turns of a prompt that they lack go before."""
    given = row.get("prompt")
    if given not in (None, "", []) and not isinstance(spelt(given), str):
        question = asked(row) or ()
        if first[: len(question)] != question or second[: len(question)] != question:
            raise ItemError(
                "not an answer", f"beside a prompt in turns, '{names[0]}' holds one turn, or begins with it"
            )
    shared, one, other = answers(first, second)
    system = next((turn for turn in (asked(row) or ()) if turn.role == "system"), None)
    if system is not None and shared[0].role != "system":
        shared = (system, *shared)
    return shared, one, other


def value(row: Row, column: str) -> Any:
    """The value of a column that must be there and hold something."""
    if column not in row:
        raise ItemError("missing column", f"no '{column}'; there are {excerpt(', '.join(map(str, row)), 80)}")
    if row[column] is None:
        raise ItemError("empty cell", f"'{column}' has no value")
    return row[column]


def _repeats(question: Conversation, first: Conversation | None, second: Conversation | None) -> bool:
    """Whether two conversations, as text, hold the question before their answers."""
    last = question[-1].content.strip()
    return all(turns is not None and turns[-2].content.strip() == last for turns in (first, second))


def answer(turns: Conversation, column: str) -> str:
    """The text of one assistant's turn."""
    if len(turns) != 1 or turns[0].role != "assistant":
        raise ItemError("not an answer", f"beside a prompt, '{column}' holds one turn of the assistant")
    return turns[0].content


def answers(first: Conversation, second: Conversation) -> Shown:
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
