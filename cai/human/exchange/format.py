"""What a format is: how to tell it, how to read a row, and how to write one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cai.data.verdicts import BOTH_BAD
from cai.human.exchange.fields import Row
from cai.human.pairs import Options, Refusal, Vote
from cai.values.errors import ItemError
from cai.values.types import Conversation, Preference

Read = Vote | Preference | Refusal
Numbered = tuple[int, Row]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file.

    ``needs`` names the columns for a message. ``read`` gives the votes of a row and raises ItemError where
    there are none; ``gather`` instead reads formats whose votes span several rows, and says which rows each
    vote came from. ``write`` makes a row of the votes on one pair: of one vote, or, where ``grouped``, of
    all votes that saw the pair in the same order; it raises ItemError for what the format cannot hold.
    ``loses`` says what a written file no longer knows.
    ``near`` is whether a row may be of this format under other names, asked where no format ``fits``.
    ``learn`` sees all rows before they are read, for what only the whole file tells: it gives the options
    with that in them, and lines for the user; it raises FileError where the user must say something.
    """

    name: str
    needs: str
    fits: Callable[[Row], bool]
    read: Callable[[Row, Options], Iterable[Read]] | None = None
    gather: Callable[[Iterator[Numbered], Options], Iterator[tuple[tuple[int, ...], Read]]] | None = None
    write: Callable[[Sequence[Preference]], dict[str, Any]] | None = None
    grouped: bool = False
    files: tuple[str, ...] = (".jsonl", ".json", ".parquet")
    loses: str = ""
    near: Callable[[Row], bool] | None = None
    learn: Callable[[str, Iterable[Row], Options], tuple[Options, list[str]]] | None = None


def one(votes: Sequence[Preference]) -> Preference:
    """The single vote that a format without grouping is given."""
    (vote,) = votes
    return vote


def in_order(vote: Preference) -> Preference:
    """The vote with the response that the annotator saw first as ``a``."""
    seen = vote.judgements[0] if vote.judgements else None
    return vote.swap() if seen and seen.p_a_first is None and seen.p_b_first is not None else vote


def first_name(vote: Preference) -> str:
    """Which response of the comparison ``in_order`` puts first: "a" or "b"."""
    return "a" if in_order(vote) is vote else "b"


def winner_first(vote: Preference) -> tuple[Preference, str]:
    """The vote with the preferred response as ``a``, and which response of the comparison that is.

    Raises:
        ItemError: the vote is unscored.
    """
    p = scored(vote)
    return (vote, "a") if p >= 0.5 else (vote.swap(), "b")


def scored(vote: Preference) -> float:
    """P(a preferred). Raises ItemError for an unscored vote."""
    if vote.p is None:
        raise ItemError("unscored", vote.unscored or "")
    return vote.p


def strict(vote: Preference) -> float:
    """P(a preferred) where one side is preferred. Raises ItemError for a tie and an unscored vote."""
    p = scored(vote)
    if p == 0.5:
        raise ItemError("tie", "the format knows a winner and a loser only")
    return p


def word(vote: Preference, first: str = "a", second: str = "b", both_bad: str = "both_bad") -> str:
    """The verdict as a choice: a side, "tie", or both bad."""
    if vote.p is None:
        if vote.unscored == BOTH_BAD:
            return both_bad
        raise ItemError("unscored", vote.unscored or "")
    return "tie" if vote.p == 0.5 else first if vote.p > 0.5 else second


def question_text(messages: Conversation) -> str:
    """The text of a prompt that is one user turn. Raises ItemError for a longer conversation."""
    if len(messages) != 1:
        raise ItemError("conversation", "the format holds a single question, not several turns")
    return messages[0].content


def human(vote: Preference) -> str:
    """The annotator's name. Raises ItemError for an AI label, which the tool would show as a person's."""
    if vote.source.kind != "human":
        raise ItemError("not a human vote", f"it is the label of {vote.source.name}; export it to trl or cai")
    return vote.source.name
