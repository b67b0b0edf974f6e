"""``cai agreement``: the figures of a run or a file of votes, kept in the run and told to a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from cai.data import tables
from cai.human.agreement.overlap import Bin
from cai.human.agreement.voter_agreement import Agreement, measure
from cai.human.collected import votes_of
from cai.human.exchange import importing
from cai.run.folder import RunFolder
from cai.values.errors import UsageError
from cai.values.types import Score

PREFIX = "agreement/"
CURVE = "reliability"
MOST = 12  # lines of one kind; all are in metrics.json and --json


def agreement_of(source: str) -> Agreement:
    """The agreement in a run folder, or in a file that ``cai import`` can read.

    A run's figures go into its metrics.json, its curve to data/reliability.parquet.

    Raises:
        UsageError: there is no such folder or file, no human vote in it, or another command works in the run.
    """
    folder = RunFolder(Path(source))
    if (folder.path / "config.yaml").is_file():
        return _of_run(folder)
    votes, report = importing.read_all(source)
    if not votes:
        raise UsageError(f"{source}: no usable vote in {report.rows:,} rows of {report.format}")
    agreement = measure(votes, [])
    if report.failures:
        note = f"{len(report.failures):,} rows or votes of the file were rejected; cai import says which"
        agreement = replace(agreement, notes=(*agreement.notes, note))
    return agreement


def _of_run(folder: RunFolder) -> Agreement:
    human = votes_of(folder)
    if not human:
        raise UsageError(
            f"{folder.path}: no human vote in this run; collect some with cai annotate {folder.path}, "
            f"or import some with cai import FILE --to {folder.path}"
        )
    labeled = folder.table("preferences").exists()
    ai = folder.read_table("preferences", tables.preference_from) if labeled else []
    agreement = measure(human, ai)
    with folder.locked():
        folder.record_metrics(dict(agreement.scores), drop=PREFIX, private=True)  # some name an annotator
        folder.write_table(CURVE, map(asdict, agreement.curve))
    return agreement


def describe(agreement: Agreement) -> list[str]:
    """Lines for a person: what the figures rest on, the figures in groups, the curve, the notes."""
    c = agreement.counts
    lines = [
        f"{c.votes:,} votes ({c.ties:,} ties, {c.unscored:,} unscored, {c.repeated:,} repeated) on "
        f"{c.pairs:,} pairs, {c.shared:,} with two votes or more; {c.people:,} named annotators",
    ]
    if c.ai:
        lines.append(f"{c.ai:,} AI labels, {c.overlap:,} on pairs that people voted on")
    for title, starts in _SECTIONS:
        figures = [
            (name.removeprefix(PREFIX), score)
            for name, score in agreement.scores.items()
            if name.removeprefix(PREFIX).split("/")[0] in starts
        ]
        lines += _section(title, figures)
    if agreement.curve:
        lines += ["", "Calibration of the AI labels (P of the response that the AI prefers)"]
        lines.append(f"  {'AI says':>11}  {'mean':>5}  people agree            prompts  pairs")
        lines += [_point(point) for point in agreement.curve]
    return [*lines, *([""] if agreement.notes else []), *(f"Note: {note}" for note in agreement.notes)]


_SECTIONS = (
    ("Agreement among people beyond chance (Krippendorff's alpha)", {"alpha", "alpha_interval"}),
    ("Agreement of two beyond chance (Cohen's kappa)", {"kappa"}),
    ("Same side when asked again", {"self"}),
    ("The AI labels against people", {"accuracy", "log_loss", "ece"}),
    ("Response shown first (0.5: no bias)", {"position", "position_mean", "flipped"}),
    ("Longer response", {"length", "length_excess"}),
)


def _section(title: str, figures: list[tuple[str, Score]]) -> Iterable[str]:
    if not figures:
        return
    yield from ("", title)
    # Overall figures first, then the people and groups with most behind them.
    ranked = sorted(figures, key=lambda figure: (figure[0].count("/") > 1, -figure[1].n))
    width = max(len(name) for name, _ in ranked[:MOST])
    yield from (_line(name, score, width) for name, score in ranked[:MOST])
    if len(ranked) > MOST:
        yield f"  and {len(ranked) - MOST:,} more (--json has all)"


def _line(name: str, score: Score, width: int) -> str:
    return f"  {name:<{width}}  {score.value:6.3f}  [{score.low:6.3f}, {score.high:6.3f}]  n = {score.n:,}"


def _point(point: Bin) -> str:
    return (
        f"  {point.start:.2f} – {point.end:.2f}  {point.ai:.3f}  {point.human:.3f}  "
        f"[{point.low:.3f}, {point.high:.3f}]  {point.n:>7,}  {point.pairs:>5,}"
    )
