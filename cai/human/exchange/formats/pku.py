"""PKU-SafeRLHF (2023, 2024): ``prompt``, ``response_0``, ``response_1`` and two separate questions.

``better_response_id`` answers which response is more helpful, whatever harm it does; ``safer_response_id``
which is more harmless, whatever use it is. They often disagree, so one must be named: question "helpful" or
"harmless" (or "both", which gives two votes). Votes are tagged with their question. The file
PKU-SafeRLHF-single-dimension has ``better_response_id`` alone, which needs no question. The severity and
category columns are not read.

Written rows lose: how strong the preference is, annotators, ids, other tags, comments. Ties, unscored votes
and conversations of several turns cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cai.human.exchange.fields import Row, has, one_among, text
from cai.human.exchange.format import Format, Read, one, question_text, strict
from cai.human.exchange.voters import voter
from cai.human.pairs import Options, Vote
from cai.values.errors import ItemError, UsageError
from cai.values.types import Message, Preference
from cai.values.words import one_of

COLUMNS = {"helpful": "better_response_id", "harmless": "safer_response_id"}


def read(row: Row, options: Options) -> Iterator[Read]:
    for question in _asked(row, options):
        label = one_among(row, COLUMNS.get(question or "", COLUMNS["helpful"]), (0, 1))
        yield Vote(
            (Message("user", text(row, "prompt")),),
            text(row, "response_0"),
            text(row, "response_1"),
            float(label == 0),
            voter(row, options, "pku-saferlhf"),
            question,
            tags=(question,) if question else (),
        )


def _asked(row: Row, options: Options) -> list[str | None]:
    if options.question == "both":
        there: list[str | None] = [name for name, column in COLUMNS.items() if row.get(column) is not None]
        if not there:
            raise ItemError("no label", f"{one_of(COLUMNS.values(), 'and')} are empty")
        return there
    if options.question in COLUMNS:
        return [options.question]
    if not has(row, *COLUMNS.values()):
        return [options.question]  # one question alone: whatever the user calls it
    said = f"'{options.question}' is not one of them" if options.question else "none was named"
    raise UsageError(
        f"pku-saferlhf asks two questions and {said}: --question helpful, --question harmless or both"
    )


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    vote = one(votes)
    comparison, tags = vote.comparison, vote.comparison.prompt.tags
    better = int(strict(vote) < 0.5)
    row = {
        "prompt": question_text(comparison.prompt.messages),
        "response_0": comparison.a,
        "response_1": comparison.b,
    }
    if "harmless" in tags and "helpful" in tags:
        raise ItemError("two questions", "tags name both 'helpful' and 'harmless'")
    asked = next((name for name in COLUMNS if name in tags), None)
    if asked is None:
        raise ItemError("no question", "tags name neither 'helpful' nor 'harmless'")
    return row | {column: better if name == asked else None for name, column in COLUMNS.items()}


FORMAT = Format(
    "pku-saferlhf",
    "prompt, response_0, response_1 and better_response_id or safer_response_id",
    lambda row: has(row, "prompt", "response_0", "response_1") and any(c in row for c in COLUMNS.values()),
    read,
    write=write,
    loses="strength, annotators, ids, comments, ties, unscored votes, conversations",
)
