"""Several people's votes on a pair as one label: the majority, Dawid-Skene's posterior, or each by itself.

    labels = aggregate(votes, "majority").preferences

Votes are joined by pair and question (``raters.py``), people's and models' apart. Only the side of a vote
counts, not its strength; "each" keeps both. Votes without a side (both bad, not rated) are verdicts, not
failures: they are counted and left out, and a pair with no other votes stays, unscored, with their reason.

majority      1 or 0 for the side with the most votes, 1/2 where no side has more than the others, ties being
              a side of their own.
dawid-skene   P = P(a is better) + P(tie)/2 from a model with three true classes (b, tie, a) and error rates
              for every person. A tie can be the truth about a pair, which half a vote each way cannot say.
              Which response is called ``a`` means nothing, so each pair enters in both orders: P(a) of a pair
              is then 1 - P(a) of its mirror image. People whom nobody can tell apart share their error rates.
              These are nine numbers per person: below some twenty votes each, take the majority.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cai.human.agreement import raters
from cai.human.agreement.raters import Unit
from cai.human.mixing import dawid_skene
from cai.statistics.clusters import clustered_mean
from cai.values.types import Judgement, Preference, Score, Source

How = Literal["majority", "dawid-skene", "each"]
SIDES = ("b", "tie", "a")  # by ``raters.category``


@dataclass(frozen=True, slots=True)
class Aggregated:
    """Labels of pairs, in the order in which the pairs first appear.

    ``preferences`` holds unscored ones too, with their reasons. ``annotators`` is, for Dawid-Skene, the
    probability that a person's vote on one of their pairs names the true class. ``votes`` were read, of which
    ``unscored`` took no side and ``repeated`` were a person's second vote on a pair.
    """

    preferences: tuple[Preference, ...]
    annotators: Mapping[str, Score] = field(default_factory=dict)
    votes: int = 0
    unscored: int = 0
    repeated: int = 0


def aggregate(votes: Sequence[Preference], how: How) -> Aggregated:
    """One preference per pair and question, or, with "each", every vote turned to its pair's first order.

    The source of a label from several people is "majority of 3", "dawid-skene of 3"; of one, that person.
    ``raw`` tells the votes ("2 a, 1 b"), the weight is the mean of theirs, and the judgement holds the mean P
    in each order of showing.
    """
    kinds = [[vote for vote in votes if vote.source.kind == kind] for kind in ("human", "ai")]
    groups = [(unit, kind) for kind in kinds for unit in raters.units(kind)]
    units = [unit for unit, _ in groups]
    figures: dict[str, Score] = {}
    if how == "each":
        labels = [vote for unit in units for vote in unit.votes]
    elif how == "majority":
        labels = [_label(unit, majority(unit.categories), how) for unit in units]
    else:
        posterior, figures = _dawid_skene(units)
        labels = [_label(unit, p, how) for unit, p in zip(units, posterior, strict=True)]
    scored = sum(len(unit.scored) for unit in units)
    counted = sum(len(unit.raters) for unit in units)
    return Aggregated(tuple(labels), figures, len(votes), len(votes) - scored, scored - counted)


def majority(categories: Sequence[int]) -> float | None:
    """The side with the most votes as 0, 1/2 or 1; 1/2 for a draw, None of no votes."""
    if not categories:
        return None
    counts = Counter(categories).most_common()
    drawn = len(counts) > 1 and counts[0][1] == counts[1][1]
    return 0.5 if drawn else counts[0][0] / 2


def _dawid_skene(units: Sequence[Unit]) -> tuple[list[float | None], dict[str, Score]]:
    """P of each unit, None where it has no votes; and P(vote is right) of each person."""
    voted = [unit for unit in units if unit.raters]
    if not voted:
        return [None] * len(units), {}
    rows = [
        (task, _worker(vote), raters.category(vote.p))
        for task, unit in enumerate(voted)
        for vote in unit.raters
        if vote.p is not None
    ]
    names = list(dict.fromkeys(name for _, name, _ in rows))
    number = {name: index for index, name in enumerate(names)}
    tasks = np.array([task for task, _, _ in rows], dtype=np.int64)
    workers = np.array([number[name] for _, name, _ in rows], dtype=np.int64)
    labels = np.array([label for _, _, label in rows], dtype=np.int64)
    mirrored = (
        np.concatenate((tasks, tasks + len(voted))),
        np.concatenate((workers, workers)),
        np.concatenate((labels, 2 - labels)),
    )
    posterior = dawid_skene.fit(*mirrored, classes=len(SIDES)).posterior[: len(voted)]
    right: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for task, name, label in rows:
        right[name].append((float(posterior[task, label]), voted[task].prompt))
    figures = {
        name: clustered_mean([p for p, _ in of], [prompt for _, prompt in of], 0.0, 1.0)
        for name, of in right.items()
    }
    found = iter((posterior[:, 2] + posterior[:, 1] / 2).clip(0.0, 1.0).tolist())
    return [next(found) if unit.raters else None for unit in units], {
        name: score for name, score in figures.items() if score is not None
    }


def _worker(vote: Preference) -> str:
    return vote.source.name if raters.is_person(vote.source.name) else raters.origin(vote)


def _label(unit: Unit, p: float | None, how: How) -> Preference:
    """The preference that ``unit`` comes to."""
    counted = unit.raters or unit.votes
    sources = {vote.source for vote in counted}
    source = counted[0].source
    if len(counted) > 1 and (len(sources) > 1 or not raters.is_person(source.name)):
        source = Source(source.kind, f"{how} of {len(counted)}")
    unscored = None
    if p is None:
        reasons = Counter(vote.unscored or "unscored" for vote in unit.votes)
        unscored = ", ".join(reason for reason, _ in reasons.most_common())
    return Preference(
        unit.comparison,
        p,
        source,
        _judgements(unit),
        unscored,
        _told(unit),
        sum(vote.weight for vote in counted) / len(counted),
    )


def _judgements(unit: Unit) -> tuple[Judgement, ...]:
    """The mean over raters in each order of showing, by principle."""
    said: dict[str, list[Judgement]] = defaultdict(list)
    for vote in unit.raters or unit.votes:
        for judgement in vote.judgements:
            said[judgement.principle_id].append(judgement)
    return tuple(
        Judgement(principle, _mean([j.p_a_first for j in of]), _mean([j.p_b_first for j in of]))
        for principle, of in said.items()
    )


def _mean(values: Sequence[float | None]) -> float | None:
    read = [value for value in values if value is not None]
    return sum(read) / len(read) if read else None


def _told(unit: Unit) -> str:
    """The votes in words: ``2 a, 1 tie, 1 both bad``."""
    sides = Counter(SIDES[side] for side in unit.categories)
    none = Counter(vote.unscored or "unscored" for vote in unit.votes if vote.p is None)
    parts = [f"{sides[side]} {side}" for side in reversed(SIDES) if sides[side]]
    return ", ".join(parts + [f"{count} {reason}" for reason, count in none.items()])
