"""hh-rlhf: Anthropic/hh-rlhf (2022), ``chosen`` and ``rejected``, each a whole dialogue in one string.

Turns begin with an empty line and "Human:" or "Assistant:"; the same words anywhere else are text. A row is
taken when the two dialogues are the same up to the last "Assistant:" and their turns alternate. Otherwise a
marker stood inside somebody's text, or the dialogues part earlier, and no single answer was preferred.
Spaces around a turn are not kept. The file names no annotators; where a column does, they are read.

Written rows lose: how strong the preference is, who voted, ids, tags, comments. Ties, unscored votes, system
turns and texts that hold a marker or begin or end with spaces cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cai.chat.dialogue import is_dialogue, parse_dialogue
from cai.data.chosen import answers
from cai.human.exchange.fields import Row, has, text
from cai.human.exchange.format import Format, one, strict, winner_first
from cai.human.exchange.voters import voter
from cai.human.pairs import Options, Vote
from cai.values.errors import ItemError
from cai.values.types import Conversation, Preference

_LAST = "\n\nAssistant:"
_SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def fits(row: Row) -> bool:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    return (
        isinstance(chosen, str)
        and isinstance(rejected, str)
        and "prompt" not in row
        and (is_dialogue(chosen) or is_dialogue(rejected))
    )


def read(row: Row, options: Options) -> Iterator[Vote]:
    chosen, rejected = text(row, "chosen"), text(row, "rejected")
    before, other = chosen.rpartition(_LAST)[0], rejected.rpartition(_LAST)[0]
    if before != other:
        parted = next((n for n, (x, y) in enumerate(zip(before, other, strict=False), 1) if x != y), 0)
        parted = parted or min(len(before), len(other)) + 1
        raise ItemError(
            "prefixes differ", f"the dialogues part at character {parted}, before the last answer"
        )
    messages, first, second = answers(parse_dialogue(chosen), parse_dialogue(rejected))
    yield Vote(
        messages, first, second, 1.0, voter(row, options, "hh-rlhf"), options.question, tags=options.tags
    )


def dialogue(messages: Conversation, answer: str) -> str:
    """The string form of a conversation and its answer.

    Raises:
        ItemError: it would not be read back as it is.
    """
    if any(turn.role not in _SPEAKERS for turn in messages):
        raise ItemError("system turn", "the format has no place for it")
    turns = [*((_SPEAKERS[turn.role], turn.content) for turn in messages), ("Assistant", answer)]
    written = "".join(f"\n\n{speaker}: {said}" for speaker, said in turns)
    try:
        back = parse_dialogue(written)
    except ItemError:
        back = ()
    if [turn.content for turn in back] != [said for _, said in turns]:
        raise ItemError("not writable", "a turn holds a marker, or begins or ends with spaces")
    return written


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    strict(one(votes))
    vote, _ = winner_first(one(votes))
    messages = vote.comparison.prompt.messages
    return {
        "chosen": dialogue(messages, vote.comparison.a),
        "rejected": dialogue(messages, vote.comparison.b),
    }


FORMAT = Format(
    "hh-rlhf",
    "chosen and rejected, dialogues with '\\n\\nHuman:' and '\\n\\nAssistant:'",
    lambda row: has(row, "chosen", "rejected") and fits(row),
    read,
    write=write,
    files=(".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv"),
    loses="strength, annotators, ids, tags, comments, ties, unscored votes",
)
