"""One figure on AI labels and people: how often a label takes the side that people took on the same pair."""

from __future__ import annotations

from collections.abc import Sequence

from cai.human.agreement import raters
from cai.human.agreement.overlap import overlap, pair_scores
from cai.statistics import prediction
from cai.values.types import Preference, Score


def label_agreement(votes: Sequence[Preference], labels: Sequence[Preference]) -> Score | None:
    """Share of the pairs that both judged, as in ``cai agreement``: people's ties are left out.

    Votes cast by a model and unscored labels do not count. None where people judged none of the pairs.
    """
    units = raters.units(vote for vote in votes if vote.source.kind == "human")
    scored = [label for label in labels if label.source.kind == "ai" and label.p is not None]
    return prediction.accuracy(pair_scores(overlap(units, scored)))
