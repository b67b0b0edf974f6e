"""Conversations written as one string with ``\\n\\nHuman:`` and ``\\n\\nAssistant:`` (the hh-rlhf form)."""

from __future__ import annotations

import re

from cai.values.errors import ItemError
from cai.values.types import Conversation, Message, Role

_MARKER = re.compile(r"\n\n(Human|Assistant):[ ]?")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


def parse_dialogue(text: str) -> Conversation:
    """The turns of ``text``. The text of the last turn may be empty.

    Raises:
        ItemError: it does not begin with a human turn, two turns of one speaker follow each other (then a
            marker stood inside somebody's text and the split cannot be trusted), or a turn is empty.
    """
    before, *pieces = _MARKER.split(text)
    if before or not pieces or pieces[0] != "Human":
        raise ItemError("not a dialogue", "it does not begin with an empty line and 'Human:'")
    turns = []
    for index in range(0, len(pieces), 2):
        speaker, said = pieces[index], pieces[index + 1].strip()
        if speaker != ("Human", "Assistant")[index // 2 % 2]:
            raise ItemError("turns do not alternate", f"turn {index // 2 + 1} is a second {speaker} turn")
        if not said and index + 2 < len(pieces):
            raise ItemError("empty turn", f"turn {index // 2 + 1}")
        turns.append(Message(_ROLES[speaker], said))
    return tuple(turns)


def is_dialogue(text: str) -> bool:
    """Whether ``text`` begins as the form does."""
    return text.startswith("\n\nHuman:")
