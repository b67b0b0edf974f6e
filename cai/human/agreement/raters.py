"""Votes grouped by what was asked: the same two responses, the same question, everybody's verdict.

A *unit* is a pair under a question. Votes on a pair are joined whatever its ids and whichever response a vote
calls ``a`` (``pairs.pair_key``); votes under different principles answer different questions and stay apart.

A *rater* is whoever is behind one vote of a unit. A named person is one rater, and the first scored vote is
the one that counts: pairs are shown twice to measure self-agreement, not to count double. Names such as
"helpsteer2/1" are positions in a row of a file, and a format's own name stands for whoever voted in it:
behind those are people nobody can tell apart, so each of their votes is a rater of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from cai.human.exchange.formats import FORMATS
from cai.human.pairs import UNNAMED, pair_key, prompt_id
from cai.values.types import Comparison, Preference

_POSITION = re.compile(r"(?P<file>.+)/\d+")
PEOPLE = "annotators"  # the origin of votes by named people

Question = tuple[str, ...]


def is_person(name: str) -> bool:
    """Whether a voter's name is one person's, as far as a name can tell."""
    return name not in FORMATS and not _POSITION.fullmatch(name)


def origin(vote: Preference) -> str:
    """The file that votes without names come from; ``PEOPLE`` where somebody is named."""
    name = vote.source.name
    match = _POSITION.fullmatch(name)
    return match["file"] if match else name if name in FORMATS else PEOPLE


def question(vote: Preference) -> Question:
    """What was asked: the principles of the judgements; the prompt's tags where there is no judgement.

    Imported votes whose order of showing is unknown have no judgement, and their question is a tag.
    """
    if vote.judgements:
        return tuple(sorted({j.principle_id for j in vote.judgements} - {UNNAMED}))
    return tuple(sorted(vote.comparison.prompt.tags))


def category(p: float) -> int:
    """The side that a vote takes: 0 for ``b``, 1 for a tie, 2 for ``a``."""
    return 1 + (p > 0.5) - (p < 0.5)


def oriented(vote: Preference, comparison: Comparison) -> Preference:
    """``vote`` with the responses in the order of ``comparison``, which is the same pair."""
    return vote if vote.comparison.a == comparison.a else vote.swap()


@dataclass(frozen=True)
class Unit:
    """A pair under a question with its votes (at least one), all oriented as ``comparison``."""

    key: str
    question: Question
    comparison: Comparison
    votes: tuple[Preference, ...]

    @cached_property
    def prompt(self) -> str:
        """The unit of intervals: the same for the same conversation, whatever ids it was given."""
        return prompt_id(self.comparison.prompt.messages)

    @cached_property
    def scored(self) -> tuple[Preference, ...]:
        """Every scored vote, repeated ones too."""
        return tuple(vote for vote in self.votes if vote.p is not None)

    @cached_property
    def raters(self) -> tuple[Preference, ...]:
        """One scored vote per rater, in order."""
        seen: set[str] = set()
        kept = []
        for vote in self.scored:
            name = vote.source.name
            if is_person(name):
                if name in seen:
                    continue
                seen.add(name)
            kept.append(vote)
        return tuple(kept)

    @property
    def values(self) -> list[float]:
        """P(a preferred) by each rater."""
        return [vote.p for vote in self.raters if vote.p is not None]

    @property
    def categories(self) -> list[int]:
        return [category(p) for p in self.values]

    @property
    def share(self) -> float | None:
        """Mean P(a preferred) over raters: the share of people for ``a``, ties as half of one."""
        values = self.values
        return sum(values) / len(values) if values else None


def units(votes: Iterable[Preference]) -> list[Unit]:
    """Votes by pair and question, in the order in which they first appear."""
    groups: dict[tuple[str, Question], list[Preference]] = defaultdict(list)
    for vote in votes:
        groups[pair_key(vote.comparison), question(vote)].append(vote)
    return [_unit(key, asked, members) for (key, asked), members in groups.items()]


def _unit(key: str, asked: Question, votes: Sequence[Preference]) -> Unit:
    first = votes[0].comparison
    return Unit(key, asked, first, tuple(oriented(vote, first) for vote in votes))
