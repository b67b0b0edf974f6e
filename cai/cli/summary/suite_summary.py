"""What suites found, on the terminal: one table per suite, models as columns."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from cai.config.run_config import RunConfig
from cai.constitution.load import Constitution
from cai.constitution.templates import Templates
from cai.evaluation.catalogue import SUITES, wanted
from cai.evaluation.estimate import calls
from cai.pipeline.steps.evaluate import PROOF
from cai.pipeline.steps.suites import read_record
from cai.run.folder import RunFolder
from cai.values.types import Score


def catalogue() -> str:
    """The suites, one per line."""
    return "\n".join(
        f"  {s.name:<14}{s.what}{f' (=FILE: {s.data})' if s.data else ''}" for s in SUITES.values()
    )


def show(folder: RunFolder) -> None:
    """Tables of every suite that was measured in ``folder``."""
    for line in tables(folder):
        typer.echo(line)
    typer.echo(f"\nfolder: {folder.path}   (cai report {folder.path} shows it)")


@dataclass(frozen=True, slots=True)
class Planned:
    """A suite's line of ``--dry-run``, and how often it asks the judge."""

    name: str
    line: str
    judge: int


def planned(
    config: RunConfig, constitution: Constitution, templates: Templates, held_out: int
) -> list[Planned]:
    """``--dry-run``: the requests of every suite at the end of the run, in the columns of the stages' own."""
    lines = []
    for text in config.evaluate.suites:
        want = wanted(text)
        want.check()
        found = calls(want, config, constitution, templates, held_out)
        name = f"suite {want.suite.name}"
        if found is None:
            lines.append(Planned(name, f"  {name:<20}{'–':>9}   lm-eval reads the weights itself", 0))
        else:
            parts = f"{found.models:,} to the models measured, {found.judge:,} to the judge"
            lines.append(Planned(name, f"  {name:<20}{found.total:>9,}   {parts}", found.judge))
    return lines


def tables(folder: RunFolder) -> list[str]:
    """The lines of all suites, but the one that proves a run, which the run's own summary shows."""
    found: dict[str, dict[str, dict[str, Score]]] = {}
    record = read_record(folder)
    for key, score in folder.read_metrics().items():
        _, *parts = key.split("/")
        if key.startswith("eval/") and parts[0] not in PROOF:
            metric = "/".join(parts[1:-1])
            found.setdefault(parts[0], {}).setdefault(metric, {})[parts[-1]] = score
    lines: list[str] = []
    for suite, rows in found.items():
        about = record.get(suite, {})
        judge = f", graded by {about['judge']}" if about.get("judge") else ""
        lines += ["", f"{suite}{judge}; 95 % intervals"]
        lines += _table(rows, list(about.get("models", {})))
        lines += [f"  {note}" for note in about.get("notes", [])]
    return lines


def _table(rows: dict[str, dict[str, Score]], order: list[str]) -> list[str]:
    present = {model for row in rows.values() for model in row}
    models = [model for model in order if model in present] + sorted(present - set(order))
    wide = max(26, *(len(model) + 2 for model in models))
    first = max(32, *(len(metric) + 2 for metric in rows))
    lines = [" " * (first + 2) + "".join(f"{model:<{wide}}" for model in models)]
    for metric, row in rows.items():
        cells = "".join(f"{_cell(row.get(model)):<{wide}}" for model in models)
        n = sorted({score.n for score in row.values()})
        counted = str(n[0]) if len(n) == 1 else f"{n[0]} to {n[-1]}"
        lines.append(f"  {metric.replace('_', ' '):<{first}}{cells}n={counted}")
    return lines


def _cell(score: Score | None) -> str:
    if score is None:
        return "–"
    if abs(score.value) >= 100:
        return f"{score.value:.0f} [{score.low:.0f}, {score.high:.0f}]"
    return f"{score.value:.3f} [{score.low:.2f}, {score.high:.2f}]"
