"""What AI labels are worth, told from the labels themselves: a trainer learns from useless ones as eagerly.

    worth = label_worth(preferences)            # {"flipped": Score, "near_tie": Score}
    told(metrics), doubts(metrics)              # in words, from ``label/…`` of metrics.json

flipped     share of the judgements read in both orders whose preferred response changes with the order of
            showing: a coin in each order gives 1/2, whatever is shown first gives 1
near_tie    share of the scored labels with |P - 1/2| <= 0.05, which push a soft loss nowhere
agreement   share of the pairs that people judged too on which the label takes people's side; it needs votes,
            so whoever has them computes it (``pipeline/steps/feedback.py``)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cai.statistics.clusters import clustered_proportion
from cai.values.types import Preference, Score

PREFIX = "label/"
NEAR = 0.05
WORTH = ("flipped", "near_tie", "agreement")
COIN = 0.5


def label_worth(labels: Sequence[Preference]) -> dict[str, Score]:
    """``flipped`` and ``near_tie`` of AI labels with intervals between prompts, and what they are shares of.

    ``judged_twice`` counts judgements, ``scored`` labels. A share of nothing is left out.
    """
    judged = [
        (judgement.flipped, label.comparison.prompt.id)
        for label in labels
        for judgement in label.judgements
        if judgement.flipped is not None
    ]
    scored = [
        (abs(label.p - COIN) <= NEAR + 1e-9, label.comparison.prompt.id)
        for label in labels
        if label.p is not None
    ]
    found = {
        "flipped": clustered_proportion([bool(flip) for flip, _ in judged], [prompt for _, prompt in judged]),
        "near_tie": clustered_proportion([near for near, _ in scored], [prompt for _, prompt in scored]),
        "judged_twice": _exact(len(judged)),
        "scored": _exact(len(scored)),
    }
    return {name: score for name, score in found.items() if score is not None}


def told(metrics: Mapping[str, Score]) -> str | None:
    """One sentence with every share, its count, interval and n; None where no label was measured."""
    parts = []
    for name, of, words in (
        ("flipped", "judged_twice", "judgements flip with the order of showing"),
        ("near_tie", "scored", f"labels lie within {NEAR:g} of a tie"),
    ):
        share, whole = metrics.get(PREFIX + name), metrics.get(PREFIX + of)
        if share is not None and whole is not None:
            parts.append(
                f"{round(share.value * whole.value):,} of {whole.value:,.0f} {words}, {_shown(share)}"
            )
    if (share := metrics.get(f"{PREFIX}agreement")) is not None:
        parts.append(f"labels take people's side in {_shown(share)}")
    return "; ".join(parts) if parts else None


def doubts(metrics: Mapping[str, Score]) -> list[str]:
    """What keeps the labels from being believed; a share may be as bad as its interval allows."""
    found = []
    flipped, near, agreement = (metrics.get(PREFIX + name) for name in WORTH)
    if flipped is not None and flipped.high >= COIN:
        found.append("a coin tossed in each order may do as well")
    if near is not None and near.low > COIN:
        found.append("most of them say next to nothing")
    if agreement is not None and agreement.low <= COIN:
        found.append("nothing shows that they take people's side more often than a coin")
    return found


def sentence(metrics: Mapping[str, Score]) -> str | None:
    """``told`` and ``doubts`` as one sentence that begins with "AI labels"."""
    text = told(metrics)
    return text and f"AI labels: {'; '.join([text, *doubts(metrics)])}."


def _shown(score: Score) -> str:
    return f"{score.value:.3f} [{score.low:.2f}, {score.high:.2f}] (n={score.n:,} prompts)"


def _exact(count: int) -> Score:
    return Score(count, count, count, count)
