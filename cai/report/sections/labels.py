"""Principles, labels and the mixture: who was asked what, how often, and what came of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from cai.report.blocks import Cell, Table, between, cells, count_cell, score_cell, signed
from cai.report.material import Material
from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.values.types import Judgement, Outcome, Preference, Score, Transcript
from cai.values.words import excerpt, visible

BINS = 20


@dataclass(slots=True)
class Tally:
    """What one principle was drawn for. Each list has one entry per case and is parallel to its prompts."""

    problem: list[bool] = field(default_factory=list)
    problem_of: list[str] = field(default_factory=list)
    revised: list[bool] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    longer: list[float] = field(default_factory=list)
    longer_of: list[str] = field(default_factory=list)
    judged: int = 0
    flipped: list[bool] = field(default_factory=list)
    flipped_of: list[str] = field(default_factory=list)


def by_principle(transcripts: Sequence[Transcript], preferences: Sequence[Preference]) -> dict[str, Tally]:
    tallies: dict[str, Tally] = defaultdict(Tally)
    for transcript in transcripts:
        text = transcript.initial
        for round in transcript.rounds:
            tally = tallies[round.principle_id]
            if round.unread is None:
                tally.problem.append(round.outcome is not Outcome.NO_PROBLEM)
                tally.problem_of.append(transcript.prompt.id)
            tally.revised.append(round.outcome is Outcome.REVISED)
            tally.asked.append(transcript.prompt.id)
            if round.outcome is Outcome.REVISED:
                tally.longer.append(float(len(round.response.split()) - len(text.split())))
                tally.longer_of.append(transcript.prompt.id)
            text = round.response
    for preference in preferences:
        if preference.source.kind == "ai":
            for judgement in preference.judgements:
                tally = tallies[judgement.principle_id]
                tally.judged += judgement.p is not None
                if judgement.flipped is not None:
                    tally.flipped.append(judgement.flipped)
                    tally.flipped_of.append(preference.comparison.prompt.id)
    return dict(tallies)


def principle_table(material: Material) -> Table | None:
    tallies = by_principle(material.transcripts, material.preferences)
    if not tallies:
        return None
    known = [p.id for p in material.constitution.principles] if material.constitution else []
    texts = {p.id: p.principle for p in material.constitution.principles} if material.constitution else {}
    names = [name for name in known if name in tallies] + sorted(tallies.keys() - set(known))
    rows = []
    for name in names:
        tally = tallies[name]
        rows.append(
            (
                Cell(visible(name), visible(excerpt(texts.get(name, ""), 180))),
                count_cell(len(tally.asked)),
                score_cell(clustered_proportion(tally.problem, tally.problem_of)),
                score_cell(clustered_proportion(tally.revised, tally.asked)),
                _signed(clustered_mean(tally.longer, tally.longer_of)),
                count_cell(tally.judged),
                score_cell(clustered_proportion(tally.flipped, tally.flipped_of)),
            )
        )
    note = (
        "Shares are of the rounds in which the principle was drawn; change in length is that of accepted "
        "revisions, in words. An order flip is a judgement whose preferred response changes with the order "
        "of showing. Critiques that gave no verdict neither found a problem nor found none. n counts prompts."
    )
    columns = (
        "principle",
        "drawn",
        "found a problem",
        "revised",
        "change in length",
        "judged",
        "order flips",
    )
    never = [visible(name) for name in known if name not in tallies]
    if never:
        note += f" Never drawn: {', '.join(never)}."
    return Table(
        "What was drawn and what came of it; 95\u00a0% intervals between prompts", columns, tuple(rows), note
    )


def _signed(score: Score | None) -> Cell:
    if score is None:
        return Cell("–", number=True)
    return Cell(signed(score.value), f"{between(score, plus=True)}\nn = {score.n:,}", number=True)


def round_table(transcripts: Sequence[Transcript]) -> Table | None:
    """Outcomes by round of revision."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for transcript in transcripts:
        for number, round in enumerate(transcript.rounds, 1):
            counts[number][round.outcome.value] += 1
    if not counts:
        return None
    from cai.report.wording import OUTCOMES

    found = [name for name in OUTCOMES if any(name in count for count in counts.values())]
    rows = [
        (Cell(f"round {n}"), *(count_cell(count[name], sum(count.values())) for name in found))
        for n, count in sorted(counts.items())
    ]
    return Table("Rounds of critique and revision", ("", *(OUTCOMES[name] for name in found)), tuple(rows))


def histogram(preferences: Sequence[Preference]) -> list[int]:
    """Counts of P(a preferred) in ``BINS`` bins of equal width; 1 belongs to the last."""
    counts = [0] * BINS
    for preference in preferences:
        if preference.p is not None:
            counts[min(BINS - 1, int(preference.p * BINS))] += 1
    return counts


def both_orders(preferences: Sequence[Preference]) -> list[Judgement]:
    return [
        judgement
        for preference in preferences
        for judgement in preference.judgements
        if judgement.p_a_first is not None and judgement.p_b_first is not None
    ]


def order_table(judgements: Sequence[Judgement]) -> Table:
    """Which response each order preferred: agreement on the diagonal, position bias off it."""
    counts = Counter((_side(j.p_a_first), _side(j.p_b_first)) for j in judgements)
    names = ("a", "tie", "b")
    rows = [
        (Cell(f"a shown first: prefers {one}"), *(count_cell(counts[one, other]) for other in names))
        for one in names
    ]
    columns = ("", *(f"b shown first: prefers {name}" for name in names))
    note = (
        "a in the first order and b in the second: whatever is shown first is preferred. The other corner: "
        "whatever is shown second."
    )
    return Table("Judgements by the response preferred in each order", columns, tuple(rows), note)


def _side(p: float | None) -> str:
    return "tie" if p is None or p == 0.5 else ("a" if p > 0.5 else "b")


def mixture_table(metrics: dict[str, Score]) -> Table | None:
    """``mix/<source>/<fate>``: where every row went."""
    found: dict[str, dict[str, int]] = {}
    for key, score in metrics.items():
        parts = key.split("/")
        if parts[0] == "mix" and len(parts) >= 3 and parts[1] != "recalibration":
            found.setdefault("/".join(parts[1:-1]), {})[parts[-1]] = round(score.value)
    if not found:
        return None
    fates = sorted({fate for row in found.values() for fate in row}, key=lambda fate: (fate != "taken", fate))
    rows = [
        (
            Cell(visible(source)),
            *(count_cell(row.get(fate, 0), sum(row.values())) for fate in fates),
            *cells(sum(row.values())),
        )
        for source, row in found.items()
    ]
    return Table(
        "Labels by source and fate",
        ("source", *(fate.replace("_", " ") for fate in fates), "all"),
        tuple(rows),
        "Taken is what the policy or the reward model learns.",
    )


_QUALITY = {
    "reward/accuracy": "reward model: accuracy on held-out pairs",
    "reward/accuracy_ceiling": "– what a perfect reward would reach on these labels",
    "reward/accuracy_weighted": "reward model: accuracy weighted by what is at stake, |2P − 1|",
    "reward/accuracy_weighted_ceiling": "– what a perfect reward would reach",
    "reward/accuracy_sure": "reward model: accuracy where the label is sure, |P − ½| ≥ ¼",
    "reward/log_loss": "reward model: log-loss, nats",
    "reward/log_loss_floor": "– the labels' own entropy, below which no reward can be",
    "reward/log_loss_excess": "– the loss above it",
    "reward/ece": "reward model: calibration error",
    "agreement/accuracy": "AI labels: same side as people",
    "agreement/log_loss": "AI labels: log-loss against people, nats",
    "agreement/ece": "AI labels: calibration error against people",
    "agreement/alpha": "people: Krippendorff's α",
    "agreement/self": "people: same side when asked again",
    "agreement/position": "people: response shown first preferred",
}


def quality_table(metrics: dict[str, Score]) -> Table | None:
    """How good the labels and the reward model are, where that was measured."""
    rows = [(Cell(words), score_cell(metrics[key])) for key, words in _QUALITY.items() if key in metrics]
    return (
        Table("How far labels and rewards can be trusted; 95\u00a0% intervals", ("", "value"), tuple(rows))
        if rows
        else None
    )
