"""A vote as it stands in somebody's file, and the ``Preference`` that it becomes.

Every format reads to ``Vote`` and every vote becomes a preference here, so that ids, order, checks and the
meaning of a strength are decided once.

Order. Which response a file names first often says which one won, so an imported pair is put in an order
that depends on the two texts alone. Where the file's order is the order in which the annotator saw them
(``shown``), it is kept as a ``Judgement``: ``p_a_first`` when ``a`` was seen first, else ``p_b_first``.

Ids follow from the content: the same prompt, pair and question have the same id in every file and format,
also where they differ in nothing but spaces around the text or in how an accent is encoded (``tidy``).

Strength. An annotator's own scale of -s … s becomes P = 1/2 + k/(2s): k = 0 is a tie, k = ±s is certain.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Literal

from cai.data.dialect import Manner
from cai.data.sources import MAX_CHARS
from cai.data.texts import tidy
from cai.data.verdicts import Side
from cai.run.journal import digest
from cai.values.errors import ItemError
from cai.values.types import Comparison, Conversation, Judgement, Preference, Prompt, Source, as_messages
from cai.values.words import excerpt

UNNAMED = "preference"  # the question of a file that does not say what was asked


@dataclass(frozen=True, slots=True)
class Identity:
    """Ids that cai itself wrote into an exported row; ``first`` says which response stands first there."""

    comparison_id: str
    prompt_id: str
    first: Literal["a", "b"]


@dataclass(frozen=True, slots=True)
class Vote:
    """One annotator's verdict on one pair, in the file's order.

    ``p`` is P(``first`` preferred), None with ``unscored`` saying why. ``key`` is the vote's own id in the
    file, ``comment`` what the annotator wrote about it.
    """

    messages: Conversation
    first: str
    second: str
    p: float | None
    source: Source
    question: str | None = None
    shown: bool = False
    unscored: str | None = None
    comment: str | None = None
    key: str | None = None
    tags: tuple[str, ...] = ()
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row, or a vote within a row (``part``), that is not taken, and why."""

    reason: str
    detail: str = ""
    part: str = ""

    @classmethod
    def of(cls, error: ItemError, part: str = "") -> Refusal:
        return cls(error.reason, error.detail, part)


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may say about a file that the file itself does not say.

    ``format`` None means "find out". ``question`` is what annotators were asked ("helpful", "harmless", …);
    a file that holds several questions is read for this one. ``each`` False takes the file's own summary
    of several annotators instead of every vote. ``columns`` maps our names to the file's columns.
    ``source`` replaces the name of the annotators where the file has none. ``coding`` says what the values of
    a column of verdicts mean, ``pairs`` how many pairs of a row with many answers are taken (None: all).
    ``manner`` is how the file is written, where that is not to be found out. ``cells``: it is a table, in
    which ``cells.py`` makes formulas harmless.
    """

    format: str | None = None
    question: str | None = None
    each: bool = True
    columns: dict[str, str] = field(default_factory=dict)
    source: Source | None = None
    coding: dict[str, Side] = field(default_factory=dict)
    pairs: int | None = None
    manner: Manner = field(default_factory=Manner)
    cells: bool = False

    def by(self, name: str, kind: Literal["human", "ai"] = "human") -> Source:
        """Who is said to have voted in a file that names nobody."""
        return self.source or Source(kind, name)

    @property
    def tags(self) -> tuple[str, ...]:
        return (self.question,) if self.question else ()


def parse_source(text: str) -> Source:
    """``ai:NAME`` is an AI labeler, anything else the name of people."""
    kind, colon, name = text.partition(":")
    return Source("ai", name) if colon and kind == "ai" and name else Source("human", text)


def strength(k: float, scale: int) -> float:
    """P from a strength ``k`` in [-scale, scale]; positive speaks for the first response."""
    return 0.5 + k / (2 * scale)


def strength_of(p: float, scale: int) -> int:
    """The nearest strength to P: the inverse of ``strength`` on its values."""
    return round((p - 0.5) * 2 * scale)


def prompt_id(messages: Conversation) -> str:
    """The id that ``sources.py`` gives a prompt without one, of the tidied text."""
    return "p-" + hashlib.sha256(json.dumps(_tidied(messages)).encode()).hexdigest()[:16]


def _tidied(messages: Conversation) -> list[dict[str, str]]:
    return [turn | {"content": tidy(turn["content"])} for turn in as_messages(messages)]


def pair_key(comparison: Comparison) -> str:
    """The same for the same prompt and the same two responses, in either order and whatever the ids."""
    texts = sorted((tidy(comparison.a), tidy(comparison.b)))
    return digest("pair", _tidied(comparison.prompt.messages), *texts)[:32]


def to_preference(vote: Vote) -> Preference:
    """The preference that a vote is.

    Raises:
        ItemError: a text is empty, too long or not UTF-8, the responses are the same, the conversation does
            not end with the user, or P is not a probability.
    """
    if (known := vote.identity) is not None:
        swapped = known.first == "b"
        prompt = Prompt(known.prompt_id, vote.messages, vote.tags)
        comparison = Comparison(known.comparison_id, prompt, vote.first, vote.second)
    else:
        swapped = _rank(vote.first) > _rank(vote.second)
        prompt = Prompt(prompt_id(vote.messages), vote.messages, vote.tags)
        comparison = Comparison(_comparison_id(vote), prompt, vote.first, vote.second)
    p = _probability(vote.p, swapped)
    seen: tuple[Judgement, ...] = ()
    if vote.shown and p is not None:
        question = vote.question or UNNAMED
        seen = (Judgement(question, None, p) if swapped else Judgement(question, p, None),)
    preference = Preference(
        comparison.swap() if swapped else comparison,
        p,
        Source(vote.source.kind, tidy_name(vote.source.name)),
        seen,
        unscored=vote.unscored,
        raw=vote.comment or None,
    )
    check(preference)
    return preference


def check(preference: Preference) -> None:
    """Raise ItemError when a preference cannot be used whatever was voted (see ``to_preference``)."""
    comparison = preference.comparison
    messages = comparison.prompt.messages
    if not messages or messages[-1].role != "user":
        last = f"the last turn is the {messages[-1].role}'s" if messages else "there is no turn"
        raise ItemError("no question", f"{last}; a prompt ends with the user's")
    for number, turn in enumerate(messages, 1):
        if not turn.content.strip():
            raise ItemError("empty turn" if len(messages) > 1 else "empty prompt", f"turn {number}")
    if not comparison.a.strip() or not comparison.b.strip():
        raise ItemError("empty response", "one of the two has no text")
    if comparison.a == comparison.b:
        raise ItemError("identical responses", "a choice between them says nothing")
    size = sum(len(turn.content) for turn in messages) + len(comparison.a) + len(comparison.b)
    if size > MAX_CHARS:
        raise ItemError("too long", f"{size:,} characters; the limit is {MAX_CHARS:,}")
    texts = [turn.content for turn in messages]
    names = [comparison.id, comparison.prompt.id, preference.source.name, *comparison.prompt.tags]
    for text in (*texts, comparison.a, comparison.b, preference.raw or "", *names):
        require_utf8(text)


def require_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 10) : error.start + 10]
        raise ItemError(
            "not UTF-8", f"at character {error.start + 1}: {excerpt(ascii(around), 60)}"
        ) from None


def fingerprint(preference: Preference) -> str:
    """What makes two votes the same vote: pair, voter, verdict and comment."""
    source = preference.source
    return digest(
        preference.comparison.id, source.kind, source.name, preference.p, preference.unscored, preference.raw
    )


def _probability(p: float | None, swapped: bool) -> float | None:
    if p is None:
        return None
    if not 0.0 <= p <= 1.0:
        raise ItemError("label out of range", f"P(first preferred) must lie in [0, 1], got {p}")
    # Twelve digits, so that 1 - 1/6 from one order of the pair is the same number as 5/6 from the other.
    return round(1.0 - p if swapped else p, 12)


def tidy_name(name: str) -> str:
    """An annotator's name in one form: ``7.0`` is what a spreadsheet makes of ``7``."""
    plain = tidy(name)
    return plain.partition(".")[0] if re.fullmatch(r"\d+\.0+", plain) else plain


def _rank(text: str) -> tuple[bytes, ...]:
    # A hash, because every order that can be read off the texts (length, alphabet) could go with quality.
    return tuple(hashlib.sha256(t.encode("utf-8", "surrogatepass")).digest() for t in (tidy(text), text))


def _comparison_id(vote: Vote) -> str:
    texts = sorted((tidy(vote.first), tidy(vote.second)))
    return "h-" + digest(_tidied(vote.messages), *texts, vote.question)[:16]
