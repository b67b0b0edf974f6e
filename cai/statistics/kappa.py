"""Agreement of a model's winners with the labels' beyond chance: Cohen's κ, its interval between prompts."""

from __future__ import annotations

from collections.abc import Sequence

from cai.statistics import reliability
from cai.statistics.prediction import PairScore
from cai.values.types import Score


def kappa(pairs: Sequence[PairScore]) -> Score | None:
    """Cohen's κ of labels and model over the pairs that the label decides; ``n`` counts prompts.

    A model that prefers neither response gives a third answer, which agrees with no label. None of nothing,
    and where label and model both always name the same side: agreement by chance is complete then.
    """
    decided = [pair for pair in pairs if pair.p != 0.5]
    labels = [_side(pair.p - 0.5) for pair in decided]
    models = [_side(pair.margin) for pair in decided]
    try:
        return reliability.kappa(labels, models, [pair.prompt_id for pair in decided])
    except reliability.Undefined:
        return None


def _side(difference: float) -> int:
    return (difference > 0) - (difference < 0)
