"""What AI labels are worth, told from the labels themselves: a trainer learns from useless ones as eagerly.

    worth = label_worth(preferences)            # {"flipped": Score, "near_tie": Score}
    told(metrics), doubts(metrics)              # in words, from ``label/…`` of metrics.json

flipped     share of the judgements read in both orders whose preferred response changes with the order of
            showing: a coin in each order gives 1/2, whatever is shown first gives 1
moved       by how much P changes with the order of showing, mean over those judgements
near_tie    share of the scored labels with |P - 1/2| <= 0.05, which push a soft loss nowhere
agreement   share of the pairs that people judged too on which the label takes people's side; it needs votes,
            so whoever has them computes it (``pipeline/steps/feedback.py``)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.values.types import Preference, Score

PREFIX = "label/"
NEAR = 0.05
FLIPPING = 0.25  # share of judgements from which the whole interval recommends another form
WORTH = ("flipped", "near_tie", "agreement")
COIN = 0.5


def label_worth(labels: Sequence[Preference]) -> dict[str, Score]:
    """``flipped``, ``moved``, ``near_tie`` of AI labels with intervals between prompts, and of how many.

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
    moves = [
        (abs(j.p_a_first - j.p_b_first), label.comparison.prompt.id)
        for label in labels
        for j in label.judgements
        if j.p_a_first is not None and j.p_b_first is not None
    ]
    found = {
        "moved": clustered_mean([move for move, _ in moves], [prompt for _, prompt in moves], 0.0, 1.0),
        "flipped": clustered_proportion([bool(flip) for flip, _ in judged], [prompt for _, prompt in judged]),
        "near_tie": clustered_proportion([near for near, _ in scored], [prompt for _, prompt in scored]),
        "judged_twice": _exact(len(judged)),
        "scored": _exact(len(scored)),
        **_kinds(labels),
    }
    return {name: score for name, score in found.items() if score is not None}


def _kinds(labels: Sequence[Preference]) -> dict[str, Score]:
    """What the labels were read from: ``by_logprobs`` and ``by_samples``, which count the scored ones.

    ``mass``: of the options, over readings from log-probabilities. ``verdicts``, ``ties`` and ``abstained``
    count sampled replies; ``bounded`` counts readings of an option outside a server's list. Nothing of labels
    without readings.
    """
    scored = [label for label in labels if label.p is not None and any(j.readings for j in label.judgements)]
    sampled = [label for label in scored if label.interval is not None]
    readings = [
        (reading, label.comparison.prompt.id)
        for label in labels
        for judgement in label.judgements
        for reading in judgement.readings
        if reading is not None
    ]
    if not readings:
        return {}
    votes = [reading.votes for reading, _ in readings if reading.votes is not None]
    masses = [(r.mass, prompt) for r, prompt in readings if r.mass is not None and r.votes is None]
    found = {"by_logprobs": _exact(len(scored) - len(sampled)), "by_samples": _exact(len(sampled))}
    mass = clustered_mean([value for value, _ in masses], [prompt for _, prompt in masses], low=0.0, high=1.0)
    if mass is not None:
        found["mass"] = mass
    if bounded := sum(reading.bounded for reading, _ in readings):
        found["bounded"] = _exact(bounded)
    if votes:
        found["verdicts"] = _exact(sum(vote.usable for vote in votes))
        found["ties"] = _exact(sum(vote.ties for vote in votes))
        found["abstained"] = _exact(sum(vote.abstained for vote in votes))
    return found


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
        if name == "flipped" and (moved := metrics.get(f"{PREFIX}moved")) is not None:
            parts.append(f"the order moves P by {moved.value:.2f} on average")
    if (share := metrics.get(f"{PREFIX}agreement")) is not None:
        parts.append(f"labels take people's side in {_shown(share)}")
    if (sampled := metrics.get(f"{PREFIX}by_samples")) is not None and sampled.value:
        verdicts, abstained = (metrics.get(PREFIX + name) for name in ("verdicts", "abstained"))
        if verdicts is not None and abstained is not None:
            parts.append(
                f"{sampled.value:,.0f} labels are of {verdicts.value:,.0f} sampled verdicts, "
                f"{abstained.value:,.0f} replies abstained"
            )
    return "; ".join(parts) if parts else None


def advice(metrics: Mapping[str, Score]) -> str | None:
    """What to do about judgements that change with the order of showing; None where few do."""
    flipped, judged = (metrics.get(PREFIX + name) for name in ("flipped", "judged_twice"))
    if flipped is None or judged is None or flipped.low < FLIPPING:
        return None
    return position_advice(round(flipped.value * judged.value), round(judged.value))


def position_advice(flips: int, judged: int) -> str:
    return (
        f"{flips:,} of {judged:,} judgements change with the order: label.form=single has no order; "
        "label.average=log_odds keeps what a favoured place presses out of a mean of probabilities; "
        "label.calibrate=true takes the place off. Only people's votes say which is right more often"
    )


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
