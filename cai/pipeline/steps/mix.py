"""The step that makes the training set of preferences: AI labels and human votes, by ``human/mixing/``."""

from __future__ import annotations

from dataclasses import replace

from cai.data import tables
from cai.data.promptsets import load_prompts
from cai.human.agreement.label_agreement import label_agreement
from cai.human.collected import votes_of
from cai.human.exchange.importing import read_all
from cai.human.mixing.mixture import mix
from cai.pipeline.steps.step import Run, require
from cai.run.folder import RunFolder
from cai.stages.label_worth import PREFIX
from cai.values.types import Failure, Preference, Score

TABLE = "mixture"
AGREEMENT = f"{PREFIX}agreement"


async def step_mix(run: Run) -> None:
    """preferences.parquet + human votes + those of earlier rounds → mixture.parquet.

    Unscored pairs, near-duplicates and what resembles an evaluation prompt stay out; metrics.json says under
    ``mix/<source>/<fate>`` where every row went. Votes without a side are counted there and are
    no failures.
    """
    failures: list[Failure] = []
    found = [*_labels(run), *_votes(run, failures)]
    ai = [row for row in found if row.source.kind == "ai"]
    votes = [row for row in found if row.source.kind == "human"]
    held_out = load_prompts(run.config).held_out
    mixture = mix(ai, votes, held_out, run.config.human, run.seed("mix"))
    run.folder.write_table(TABLE, map(tables.preference_row, mixture.preferences), private=bool(votes))
    run.folder.record_failures({"mix"}, failures)
    counts = {f"mix/{source}/{fate}": _exact(n) for (source, fate), n in mixture.counts.items()}
    calibration = {f"mix/recalibration/{name}": score for name, score in mixture.scores.items()}
    run.folder.record_metrics(counts | calibration, drop="mix/")
    agreement = label_agreement(votes, ai)  # anew: people may have voted since the labels were made
    run.folder.record_metrics({AGREEMENT: agreement} if agreement else {}, drop=AGREEMENT)
    if votes:
        for note in mixture.notes:
            run.progress.say(note)
    require(mixture.preferences, "mix: no pair is left to learn from")


def _labels(run: Run) -> list[Preference]:
    """The run's AI labels, and those of earlier rounds at a weight that falls with their age."""
    found = run.folder.read_table("preferences", tables.preference_from)
    for folder, weight in _earlier(run):
        found += [
            replace(row, weight=row.weight * weight)
            for row in folder.read_table("preferences", tables.preference_from)
        ]
    return found


def _votes(run: Run, failures: list[Failure]) -> list[Preference]:
    """The run's votes, those of ``human.votes``, and those of earlier rounds."""
    found = votes_of(run.folder)
    if run.config.human.votes is not None:
        named, report = read_all(run.config.human.votes)
        found += named
        for note in report.notes:
            run.progress.say(f"mix: votes {note}")
        failures += [replace(failure, stage="mix") for failure in report.failures]
    for folder, weight in _earlier(run):
        found += [replace(row, weight=row.weight * weight) for row in votes_of(folder)]
    return found


def _earlier(run: Run) -> list[tuple[RunFolder, float]]:
    """Folders of earlier rounds with the weight of their pairs; none where that is 0."""
    weight = run.config.rounds.earlier_weight
    return [(folder, weight**age) for age, folder in enumerate(reversed(run.earlier), 1) if weight > 0]


def _exact(count: int) -> Score:
    return Score(count, count, count, count)
