"""What a voter favours besides quality: the response shown first, and the longer one.

Shares are over votes that take a side. People rarely see a pair in both orders, so for them the order must
have been drawn at random for 0.5 to mean "no bias". An AI labeler that reads both orders meets every pair in
each. Longer answers may be better: compare the AI with people on the same pairs (``longer_than_people``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cai.human.agreement.raters import Unit, category
from cai.human.pairs import prompt_id
from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.values.types import Comparison, Judgement, Preference, Score


def position(votes: Iterable[Preference]) -> Score | None:
    """Share of readings with a side in which the response shown first won; None where no order is known.

    A judgement that was read in both orders is two readings.
    """
    wins: list[bool] = []
    prompts: list[str] = []
    for vote, judgement in _judgements(votes):
        for first in _first(judgement):
            if first != 0.5:
                wins.append(first > 0.5)
                prompts.append(_prompt(vote))
    return clustered_proportion(wins, prompts)


def position_mean(votes: Iterable[Preference]) -> Score | None:
    """Mean P(shown first) over judgements that were read in both orders."""
    values: list[float] = []
    prompts: list[str] = []
    for vote, judgement in _judgements(votes):
        firsts = _first(judgement)
        if len(firsts) == 2:
            values.append(sum(firsts) / 2)
            prompts.append(_prompt(vote))
    return clustered_mean(values, prompts, 0.0, 1.0)


def flipped(votes: Iterable[Preference]) -> Score | None:
    """Share of judgements read in both orders whose preferred response changed with the order."""
    found = [(vote, judgement.flipped) for vote, judgement in _judgements(votes)]
    known = [(flip, _prompt(vote)) for vote, flip in found if flip is not None]
    return clustered_proportion([flip for flip, _ in known], [prompt for _, prompt in known])


def length(votes: Iterable[Preference]) -> Score | None:
    """Share of votes with a side that went to the longer response (in characters)."""
    found = [(longer, _prompt(vote)) for vote in votes if (longer := _longer(vote)) is not None]
    return clustered_proportion([longer for longer, _ in found], [prompt for _, prompt in found])


def longer_than_people(overlap: Sequence[tuple[Preference, Unit]]) -> Score | None:
    """How much more often the AI prefers the longer response than people do on the same pairs, in [-1, 1]."""
    values: list[float] = []
    prompts: list[str] = []
    for label, unit in overlap:
        own = _longer(label)
        people = [longer for vote in unit.raters if (longer := _longer(vote)) is not None]
        if own is not None and people:
            values.append(own - sum(people) / len(people))
            prompts.append(unit.prompt)
    return clustered_mean(values, prompts, -1.0, 1.0)


def _judgements(votes: Iterable[Preference]) -> Iterable[tuple[Preference, Judgement]]:
    return ((vote, judgement) for vote in votes for judgement in vote.judgements)


def _first(judgement: Judgement) -> list[float]:
    """P(the response shown first) in each order that was read."""
    found = [] if judgement.p_a_first is None else [judgement.p_a_first]
    return found if judgement.p_b_first is None else [*found, 1.0 - judgement.p_b_first]


def _longer(vote: Preference) -> bool | None:
    """Whether the longer response is preferred; None without a side or a difference in length."""
    longer = _side_of_longer(vote.comparison)
    if vote.p is None or category(vote.p) == 1 or longer is None:
        return None
    return category(vote.p) == longer


def _side_of_longer(comparison: Comparison) -> int | None:
    a, b = len(comparison.a), len(comparison.b)
    return None if a == b else 2 if a > b else 0


def _prompt(vote: Preference) -> str:
    return prompt_id(vote.comparison.prompt.messages)
