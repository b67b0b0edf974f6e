"""Pairs that both an AI labeler and people judged, and the reliability curve over them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cai.human.agreement import raters
from cai.human.agreement.raters import Unit
from cai.human.pairs import pair_key
from cai.statistics import prediction
from cai.statistics.clusters import clustered_mean
from cai.statistics.prediction import PairScore
from cai.values.types import Preference

CERTAIN = 1e-6  # P of the AI is kept this far from 0 and 1, where the log-loss has no end

Overlap = tuple[Preference, Unit]  # an AI label and the people's unit on the same pair, in the same order


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose AI label has its confidence in [``start``, ``end``): a point of the reliability curve.

    Each pair is looked at from the response that the AI prefers: ``ai`` is its mean P, ``human`` the mean
    share of people who agree, with its interval between ``n`` prompts.
    """

    bin: int
    start: float
    end: float
    ai: float
    human: float
    low: float
    high: float
    n: int
    pairs: int


def overlap(units: Iterable[Unit], labels: Iterable[Preference]) -> list[Overlap]:
    """AI labels and people's scored votes on the same pair.

    Where people answered a question that is a principle of the label, only that answer is compared with it:
    votes on helpfulness don't judge a label about harm. Where no question is the label's, all are.
    """
    by_pair: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        if unit.raters:
            by_pair[unit.key].append(unit)
    found = []
    for label in labels:
        there = by_pair.get(pair_key(label.comparison), [])
        principles = {judgement.principle_id for judgement in label.judgements}
        same = [unit for unit in there if principles & set(unit.question)]
        found += [(raters.oriented(label, unit.comparison), unit) for unit in same or there]
    return found


def pair_scores(joined: Iterable[Overlap]) -> list[PairScore]:
    """The overlap as ``statistics.prediction`` takes it: the label is the share of people for ``a``."""
    scores = []
    for label, unit in joined:
        assert label.p is not None and unit.share is not None
        p = min(max(label.p, CERTAIN), 1 - CERTAIN)
        principles = tuple(judgement.principle_id for judgement in label.judgements)
        margin = math.log(p / (1 - p))
        scores.append(
            PairScore(label.comparison.id, unit.prompt, label.source.name, principles, unit.share, margin)
        )
    return scores


def reliability_curve(pairs: Sequence[PairScore]) -> tuple[Bin, ...]:
    """The curve behind ``prediction.calibration_error``, in the same bins; empty ones are left out."""
    bins: dict[int, list[tuple[float, float, str]]] = defaultdict(list)
    for pair in pairs:
        confidence = max(pair.q, 1.0 - pair.q)
        label = 0.5 if pair.margin == 0 else pair.p if pair.margin > 0 else 1.0 - pair.p
        number = min(prediction.BINS - 1, int((confidence - 0.5) * 2 * prediction.BINS))
        bins[number].append((confidence, label, pair.prompt_id))
    curve = []
    for number, members in sorted(bins.items()):
        score = clustered_mean(
            [label for _, label, _ in members], [prompt for *_, prompt in members], 0.0, 1.0
        )
        assert score is not None
        width = 0.5 / prediction.BINS
        start = 0.5 + number * width
        mean = sum(confidence for confidence, *_ in members) / len(members)
        curve.append(
            Bin(number, start, start + width, mean, score.value, score.low, score.high, score.n, len(members))
        )
    return tuple(curve)
