"""Phrases that training made more frequent: log-odds with an informative prior (Monroe et al. 2008).

A phrase is a run of 3 to 6 words. What is counted is the number of prompts in whose answer it occurs, so
that one answer that repeats itself is not boilerplate; where the prompt itself holds the phrase, it does not
count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cai.evaluation.monitors.text_statistics import Pair, grams, words
from cai.statistics.clusters import wilson
from cai.statistics.difference import difference
from cai.values.types import Score

SIZES = (3, 4, 5, 6)

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Amplified:
    """A phrase, the prompts whose answers hold it before and after, how sure the change is, and its rise."""

    phrase: str
    base: int
    trained: int
    z: float
    rise: Score


def amplified(pairs: Sequence[Pair], top: int = 10) -> list[Amplified]:
    """The phrases whose share rose by most standard errors, and of overlapping ones the longest.

    ``rise`` is the share of prompts with the phrase, trained minus base, with its interval.
    """
    base, trained = Counter[Phrase](), Counter[Phrase]()
    for pair in pairs:
        asked = _phrases(pair.prompt.messages[-1].content)
        base.update(_phrases(pair.base) - asked)
        trained.update(_phrases(pair.trained) - asked)
    found = log_odds(trained, base, len(pairs))
    risen = sorted((phrase for phrase in trained if found[phrase] > 0), key=lambda p: (-found[p], -len(p), p))
    kept: list[Phrase] = []
    for phrase in risen:
        if len(kept) == top:
            break
        if not any(_overlap(phrase, other) for other in kept):
            kept.append(phrase)
    return [
        Amplified(" ".join(p), base[p], trained[p], found[p], _rise(base[p], trained[p], len(pairs)))
        for p in kept
    ]


def log_odds(after: Counter[Phrase], before: Counter[Phrase], strength: float) -> dict[Phrase, float]:
    """z of each phrase's change in log-odds (Monroe et al. 2008, eq. 16, 20 and 22).

    The prior is the two sides together, scaled to ``strength`` phrases: what is frequent anyway must change
    by more to stand out, and what is rare cannot stand out by chance.
    """
    both = after + before
    total = sum(both.values())
    n_after, n_before = sum(after.values()), sum(before.values())
    found = {}
    for phrase, count in both.items():
        prior = strength * count / total
        x, y = after[phrase] + prior, before[phrase] + prior
        rest_x, rest_y = n_after + strength - x, n_before + strength - y
        if min(rest_x, rest_y) <= 0:
            continue  # the only phrase there is
        found[phrase] = (math.log(x / rest_x) - math.log(y / rest_y)) / math.sqrt(1 / x + 1 / y)
    return {phrase: found.get(phrase, 0.0) for phrase in both}


def _phrases(text: str) -> set[Phrase]:
    tokens = words(text)
    return {gram for size in SIZES for gram in grams(tokens, size)}


def _overlap(first: Phrase, second: Phrase) -> bool:
    """Whether they share two words in a row: parts of one formula."""
    return bool(grams(first, 2) & grams(second, 2))


def _rise(base: int, trained: int, n: int) -> Score:
    shares = [Score(count / n, *wilson(count / n, n), n) for count in (base, trained)]
    return difference(shares[0], shares[1])
