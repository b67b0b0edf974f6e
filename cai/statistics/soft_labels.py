"""What a prediction of soft labels reached, beside what could be reached.

A label P near 1/2 says that it does not know, so the side that a reward takes there is the sign of noise, and
plain accuracy over many such labels reads as a coin for the best of rewards. Beside it:

accuracy_weighted          share of the *stake* on which label and model prefer the same response: pairs weigh
                           |2P - 1|. A coin has 1/2
accuracy_sure              plain accuracy where the label is sure, |P - 1/2| >= 1/4
accuracy_ceiling           what a reward that knows the truth would reach, if the labels mean what they say:
accuracy_weighted_ceiling  the truth is on the label's side with probability max(P, 1 - P)
log_loss_floor             the labels' own entropy: the log-loss of a model that says P itself, nats
log_loss_excess            log-loss above it: the mean divergence KL(P || q), nats; 0 is perfect

All intervals are between prompts, and n counts prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cai.statistics.clusters import clustered_mean, weighted_share
from cai.statistics.prediction import PairScore, accuracy, softplus
from cai.values.types import Score

SURE = 0.25


def soft_scores(pairs: Sequence[PairScore]) -> dict[str, Score]:
    """Every figure above; what has nothing behind it is left out."""
    prompts = [pair.prompt_id for pair in pairs]
    stakes = [abs(2 * pair.p - 1) for pair in pairs]
    sides = [max(pair.p, 1 - pair.p) for pair in pairs]
    hits = [float((pair.p - 0.5) * pair.margin > 0) for pair in pairs]
    decided = [(side, prompt) for side, stake, prompt in zip(sides, stakes, prompts, strict=True) if stake]
    excess = [softplus(-pair.margin) + (1.0 - pair.p) * pair.margin - entropy(pair.p) for pair in pairs]
    found = {
        "accuracy_weighted": weighted_share(hits, stakes, prompts),
        "accuracy_sure": accuracy([pair for pair in pairs if abs(pair.p - 0.5) >= SURE]),
        "accuracy_ceiling": clustered_mean(*_columns(decided), low=0.5, high=1.0),
        "accuracy_weighted_ceiling": weighted_share(sides, stakes, prompts),
        "log_loss_floor": clustered_mean([entropy(pair.p) for pair in pairs], prompts, 0.0, math.log(2)),
        "log_loss_excess": clustered_mean(excess, prompts, low=0.0),
    }
    return {name: score for name, score in found.items() if score is not None}


def entropy(p: float) -> float:
    """Of a label, nats."""
    return -sum(x * math.log(x) for x in (p, 1.0 - p) if x > 0.0)


def _columns(rows: Sequence[tuple[float, str]]) -> tuple[list[float], list[str]]:
    return [value for value, _ in rows], [prompt for _, prompt in rows]
