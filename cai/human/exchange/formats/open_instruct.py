"""The human evaluation file of open-instruct (2023): several annotators, five answers, one row per vote.

``prompt``, ``completion_a``, ``completion_b``, ``preference`` ("a-is-better", "a-is-slightly-better", "tie",
"b-is-slightly-better", "b-is-better"), ``evaluator``, ``id``, ``comment``, and
``completion_a_is_acceptable``, ``completion_b_is_acceptable`` ("yes", "no"). With k = ±2 for "better" and ±1
for "slightly better", P(a preferred) = 1/2 + k/4: 1, 3/4, 1/2, 1/4, 0. A tie is a tie, also where neither
answer is acceptable, because the annotators were asked the two things apart; what they said of acceptability
is kept in the comment. Each pair was shown in the file's order, and annotators' names are theirs throughout.

Not written: Label Studio, Argilla and csv serve the same purpose.
"""

from __future__ import annotations

from collections.abc import Iterator

from cai.data.turns import shown
from cai.human.exchange.fields import Row, has, optional, text
from cai.human.exchange.format import Format, Read
from cai.human.exchange.voters import voter
from cai.human.pairs import Options, Vote, strength
from cai.values.errors import ItemError
from cai.values.types import Message

STRENGTHS = {
    "a-is-better": 2,
    "a-is-slightly-better": 1,
    "tie": 0,
    "b-is-slightly-better": -1,
    "b-is-better": -2,
}
_ACCEPTABLE = ("completion_a_is_acceptable", "completion_b_is_acceptable")


def read(row: Row, options: Options) -> Iterator[Read]:
    said = text(row, "preference")
    if said not in STRENGTHS:
        raise ItemError("label out of range", f"'preference' is {shown(said)}")
    yield Vote(
        (Message("user", text(row, "prompt")),),
        text(row, "completion_a"),
        text(row, "completion_b"),
        strength(STRENGTHS[said], 2),
        voter(row, options, "open-instruct", "evaluator"),
        options.question,
        shown=True,
        comment=_comment(row),
        key=optional(row, "id"),
        tags=options.tags,
    )


def _comment(row: Row) -> str | None:
    a, b = (optional(row, column) for column in _ACCEPTABLE)
    acceptable = f"acceptable: first {a or '?'}, second {b or '?'}" if a or b else None
    return "; ".join(part for part in (acceptable, optional(row, "comment")) if part) or None


FORMAT = Format(
    "open-instruct",
    "prompt, completion_a, completion_b, preference and evaluator",
    lambda row: has(row, "prompt", "completion_a", "completion_b", "preference", "evaluator"),
    read,
)
