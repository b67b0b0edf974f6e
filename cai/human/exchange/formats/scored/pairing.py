"""Pairs of answers that were put in an order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from cai.human.pairs import Options, Vote
from cai.values.types import Conversation, Source

Placed = tuple[str, float]  # an answer and its place: the smaller, the better


def pairs(
    messages: Conversation, answers: Sequence[Placed], source: Source, options: Options
) -> Iterator[Vote]:
    """A vote for every two answers, the better first; answers of one place are a tie.

    Where ``options.pairs`` allows fewer, those furthest apart in the order come first.
    """
    found = [tuple(sorted(two, key=lambda answer: answer[1])) for two in combinations(answers, 2)]
    if options.pairs is not None:
        found = sorted(found, key=lambda two: two[0][1] - two[1][1])[: options.pairs]
    for (better, first), (worse, second) in found:
        p = 0.5 if first == second else 1.0
        yield Vote(messages, better, worse, p, source, options.question, tags=options.tags)
