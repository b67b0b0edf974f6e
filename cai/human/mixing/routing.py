"""Which pairs deserve a person's vote: those on which the AI label is least to be trusted, and not all alike.

    queue = route(labels, budget=50, seed=0, margins={...}, seen={...})

Signals, each for what an AI label may be wrong about; a pair lacks those that were not measured:

entropy      of the label P, in bits: the labeler is undecided (uncertainty sampling; Lewis and Gale 1994)
order        |P(a first) - P(b first)|, the largest of its principles: it answers by position
principles   standard deviation of P between the principles: they pull apart
reward       the label's loss under a reward model, -P log₂ q - (1-P) log₂(1-q) with q = σ(r(a) - r(b)): a
             model of all labels is undecided about the pair, or contradicts the label (Northcutt et al. 2021)

A pair's doubt is its highest rank on any signal: each speaks of what it alone sees, and no scale decides.
It is multiplied by the rank of the stake, the strongest single verdict |2P - 1| of any principle, order or
the reward model: where all of them say about a half, the responses hardly differ, and a vote on them
teaches little.

Pairs are taken from the highest product down, less ``DIVERSITY`` times the cosine to the nearest prompt
already taken (TF-IDF; maximal marginal relevance, Carbonell and Goldstein 1998). A share of the budget is
drawn evenly from the rest, since agreement and calibration measured on hard pairs alone would look too bad.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cai.human.mixing.slope import sigmoid
from cai.human.pairs import pair_key
from cai.statistics.prediction import softplus
from cai.values.errors import UsageError
from cai.values.types import Comparison, Preference

SIGNALS = ("entropy", "order", "principles", "reward")
DIVERSITY = 0.3
RANDOM = "drawn at random"


@dataclass(frozen=True, slots=True)
class Routed:
    """A pair for people. ``reason``: the signal that ranks it highest, or ``RANDOM``. ``score`` in [0, 1]."""

    comparison: Comparison
    rank: int
    score: float
    reason: str
    signals: Mapping[str, float]


def route(
    labels: Sequence[Preference],
    budget: int,
    seed: int,
    *,
    explore: float = 0.1,
    margins: Mapping[str, float] | None = None,
    seen: Collection[str] = (),
) -> list[Routed]:
    """At most ``budget`` pairs, the most deserving first, the random ones at the end.

    ``margins``: r(a) - r(b) of a reward model by the comparison's id. ``seen``: ``pair_key`` of pairs that
    people have judged. Unscored labels come first: nobody has judged those at all.

    Raises:
        UsageError: no pair is left to judge.
    """
    fresh = {pair_key(p.comparison): p for p in labels if pair_key(p.comparison) not in seen}
    pairs = list(fresh.values())
    if not pairs:
        raise UsageError("no pair is left to judge: people have voted on every labeled one")
    found = [(margins or {}).get(p.comparison.id) for p in pairs]
    measured = [signals(p, margin) for p, margin in zip(pairs, found, strict=True)]
    stakes = [stake(p, margin) for p, margin in zip(pairs, found, strict=True)]
    scores, reasons = _scores(measured, stakes)
    draw = random.Random(seed)
    taken = min(budget, len(pairs))
    exploring = min(round(taken * explore), taken)
    order = _diverse([_question(p) for p in pairs], scores, taken - exploring)
    rest = sorted(set(range(len(pairs))) - set(order))
    drawn = draw.sample(rest, exploring)
    return [
        Routed(pairs[i].comparison, rank, scores[i], RANDOM if i in drawn else reasons[i], measured[i])
        for rank, i in enumerate([*order, *drawn])
    ]


def signals(label: Preference, margin: float | None = None) -> dict[str, float]:
    """What speaks against trusting ``label``, by name; higher is worse. Empty for an unscored label."""
    if label.p is None:
        return {}
    found = {"entropy": entropy(label.p)}
    orders = [
        abs(j.p_a_first - j.p_b_first)
        for j in label.judgements
        if j.p_a_first is not None and j.p_b_first is not None
    ]
    if orders:
        found["order"] = max(orders)
    verdicts = [j.p for j in label.judgements if j.p is not None]
    if len(verdicts) > 1:
        found["principles"] = statistics.pstdev(verdicts)
    if margin is not None:
        found["reward"] = (softplus(-margin) + (1 - label.p) * margin) / math.log(2)
    return found


def stake(label: Preference, margin: float | None = None) -> float | None:
    """The strongest single verdict, |2P - 1|; None of fewer than two, which say nothing beside the label."""
    verdicts = [p for j in label.judgements for p in (j.p_a_first, j.p_b_first) if p is not None]
    if margin is not None:
        verdicts.append(sigmoid(margin))
    return max(abs(2 * p - 1) for p in verdicts) if len(verdicts) > 1 else None


def entropy(p: float) -> float:
    """Of a coin that falls on one side with P, in bits."""
    return -sum(x * math.log2(x) for x in (p, 1 - p) if x > 0)


def _scores(
    measured: Sequence[Mapping[str, float]], stakes: Sequence[float | None]
) -> tuple[list[float], list[str]]:
    """Doubt times stake in (0, 1) of each pair and the signal of its doubt; 1 and "unscored" without."""
    ranks: list[dict[str, float]] = [{} for _ in measured]
    for name in SIGNALS:
        for rank, value in zip(ranks, _ranks([found.get(name) for found in measured]), strict=True):
            if value is not None:
                rank[name] = value
    scores, reasons = [], []
    for found, own, stake in zip(measured, ranks, _ranks(stakes), strict=True):
        if not found:
            scores.append(1.0)
            reasons.append("unscored")
            continue
        reason = max(own, key=own.__getitem__) if own else "entropy"
        scores.append(own.get(reason, 0.5) * (1.0 if stake is None else stake))
        reasons.append(reason)
    return scores, reasons


def _ranks(values: Sequence[float | None]) -> list[float | None]:
    """Ranks in (0, 1), the highest value the highest; None for None, and where all are the same."""
    from scipy.stats import rankdata

    there = [value for value in values if value is not None]
    if len(set(there)) < 2:
        return [None] * len(values)
    placed = iter((rankdata(there) - 0.5) / len(there))
    return [None if value is None else float(next(placed)) for value in values]


def _diverse(texts: Sequence[str], scores: Sequence[float], count: int) -> list[int]:
    """Numbers of ``count`` texts: each time that of the highest score less its likeness to those taken."""
    if count >= len(texts):
        return sorted(range(len(texts)), key=lambda i: (-scores[i], i))
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

    try:
        vectors = TfidfVectorizer(token_pattern=r"\w+", dtype=np.float32).fit_transform(texts)
    except ValueError:  # no text has a word
        return sorted(range(len(texts)), key=lambda i: (-scores[i], i))[:count]
    value, nearest = np.array(scores), np.zeros(len(texts))
    taken: list[int] = []
    free = np.ones(len(texts), bool)
    for _ in range(count):
        best = int(np.where(free, value - DIVERSITY * nearest, -np.inf).argmax())
        taken.append(best)
        free[best] = False
        likeness = (vectors @ vectors[best].T).toarray()[:, 0]
        nearest = np.maximum(nearest, likeness)
    return taken


def _question(label: Preference) -> str:
    return label.comparison.prompt.messages[-1].content
