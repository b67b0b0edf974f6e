"""HelpSteer2-Preference (2024) and HelpSteer3-Preference (2025): strengths from -3 to 3.

-3 means "response 1 is much better", 0 "about the same", 3 "response 2 is much better". With k for the
strength, P(response 1 preferred) = 1/2 - k/6: 1, 5/6, 2/3, 1/2, 1/3, 1/6, 0.

``helpsteer2`` reads ``prompt``, ``response_1``, ``response_2``, ``preference_strength``,
``preference_statement`` and ``all_preferences_unprocessed`` (``strength``, ``justification``) from the
"preference" folder of nvidia/HelpSteer2. A strength of -100 there is an annotator who rated neither
response: it stays, unscored. ``helpsteer3`` reads ``context``, ``response1``, ``response2``,
``overall_preference`` and ``individual_preference`` (``score``, ``reasoning``) from the configuration
"preference" of nvidia/HelpSteer3.

By default every annotator's vote counts by itself; with ``each`` off, the publisher's summary of them. The
files name no annotators: "helpsteer2/1" is the first one *of a row*, not one person.

Written rows hold one vote each and lose: P between the seven strengths, annotators, ids, tags. helpsteer2
loses conversations as well; unscored votes cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai.data.chosen import value
from cai.data.turns import conversation, shown
from cai.human.exchange.fields import Row, has, items, number, one_among, optional, text
from cai.human.exchange.format import Format, Read, in_order, one, question_text, scored
from cai.human.pairs import Options, Refusal, Vote, strength, strength_of
from cai.values.errors import ItemError
from cai.values.types import Conversation, Message, Preference, as_messages

STRENGTHS = (-3, -2, -1, 0, 1, 2, 3)
_UNRATED = -100


@dataclass(frozen=True, slots=True)
class _Columns:
    """What one generation calls things."""

    name: str
    first: str
    second: str
    overall: str
    statement: str
    each: str
    score: str
    reason: str


_TWO = _Columns(
    "helpsteer2",
    "response_1",
    "response_2",
    "preference_strength",
    "preference_statement",
    "all_preferences_unprocessed",
    "strength",
    "justification",
)
_THREE = _Columns(
    "helpsteer3",
    "response1",
    "response2",
    "overall_preference",
    "overall_reasoning",
    "individual_preference",
    "score",
    "reasoning",
)


def read_two(row: Row, options: Options) -> Iterator[Read]:
    yield from _votes(row, (Message("user", text(row, "prompt")),), _TWO, options)


def read_three(row: Row, options: Options) -> Iterator[Read]:
    yield from _votes(row, conversation(value(row, "context"), "'context'"), _THREE, options)


def _votes(row: Row, messages: Conversation, columns: _Columns, options: Options) -> Iterator[Read]:
    if not options.each or not row.get(columns.each):
        yield _vote(row, messages, columns, options)
        return
    for index, said in enumerate(items(row, columns.each), 1):
        part = f"annotator {index}"
        if not isinstance(said, Mapping):
            yield Refusal("not an object", shown(said), part)
            continue
        pair = {columns.first: row.get(columns.first), columns.second: row.get(columns.second)}
        own = pair | {columns.overall: said.get(columns.score), columns.statement: said.get(columns.reason)}
        try:
            yield _vote(own, messages, columns, options, index)
        except ItemError as error:
            yield Refusal.of(error, part)


def _vote(row: Row, messages: Conversation, columns: _Columns, options: Options, index: int = 0) -> Vote:
    p, unscored = None, None
    if number(row, columns.overall) == _UNRATED:
        unscored = "neither response was rated"
    else:
        p = strength(-one_among(row, columns.overall, STRENGTHS), 3)
    return Vote(
        messages,
        text(row, columns.first),
        text(row, columns.second),
        p,
        options.by(f"{columns.name}/{index}" if index else columns.name),
        options.question,
        shown=True,
        unscored=unscored,
        comment=optional(row, columns.statement),
        tags=options.tags,
    )


def write_two(votes: Sequence[Preference]) -> dict[str, Any]:
    vote = in_order(one(votes))
    return {
        "prompt": question_text(vote.comparison.prompt.messages),
        "response_1": vote.comparison.a,
        "response_2": vote.comparison.b,
        "preference_strength": -strength_of(scored(vote), 3),
        "preference_statement": vote.raw,
    }


def write_three(votes: Sequence[Preference]) -> dict[str, Any]:
    vote = in_order(one(votes))
    score = -strength_of(scored(vote), 3)
    return {
        "context": as_messages(vote.comparison.prompt.messages),
        "response1": vote.comparison.a,
        "response2": vote.comparison.b,
        "overall_preference": score,
        "individual_preference": [{"score": score, "reasoning": vote.raw}],
    }


TWO = Format(
    "helpsteer2",
    "prompt, response_1, response_2 and preference_strength",
    lambda row: has(row, "prompt", "response_1", "response_2", "preference_strength"),
    read_two,
    write=write_two,
    loses="P between the seven strengths, annotators, ids, tags, unscored votes, conversations",
)
THREE = Format(
    "helpsteer3",
    "context, response1, response2 and overall_preference",
    lambda row: has(row, "context", "response1", "response2", "overall_preference"),
    read_three,
    write=write_three,
    loses="P between the seven strengths, annotators, ids, tags, unscored votes",
)
