"""Several runs side by side: the policy's figures, their differences from the first run's, other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cai.config.settings import flattened
from cai.report.blocks import Cell, Section, Table, cells, score_cell
from cai.report.material import Answer, Material
from cai.report.paired import Change, change, lengths, values_of
from cai.report.sections.outcomes import Evaluation, Row, change_cell
from cai.report.wording import direction, name_of
from cai.values.words import excerpt, visible


def compare(runs: Sequence[Material], evaluations: Sequence[Evaluation]) -> Section:
    """The first run against each of the others, in the last model that each has trained."""
    first, *others = runs
    lead = [
        f"Each difference is that of a run's policy from the policy of {visible(first.name)}. Where the "
        "values per prompt are in the run folders, they are compared prompt by prompt; elsewhere by the two "
        "intervals, which is too cautious where the prompts are the same."
    ]
    for other in others:
        lead.append(_prompts(first, other))
    blocks = [table for table in (_figures(runs, evaluations), _settings(runs)) if table is not None]
    return Section("runs", "Against other runs", tuple(lead), tuple(blocks))


def _policy(run: Material) -> dict[str, Answer]:
    return {answer.prompt.id: answer for answer in run.answers.get("policy", [])}


def shared(first: Material, other: Material) -> set[str]:
    """Ids of the held-out prompts that both policies answered and that say the same in both runs."""
    mine, theirs = _policy(first), _policy(other)
    return {
        name
        for name in mine.keys() & theirs.keys()
        if mine[name].prompt.messages == theirs[name].prompt.messages
    }


def _prompts(first: Material, other: Material) -> str:
    both, count = len(shared(first, other)), len(_policy(first))
    if not both:
        return (
            f"{visible(other.name)} answered other held-out prompts: differences may come from the prompts."
        )
    which = "the same" if both == count == len(_policy(other)) else f"{both:,} of the {count:,}"
    return f"{visible(other.name)} answered {which} held-out prompts."


def _figures(runs: Sequence[Material], evaluations: Sequence[Evaluation]) -> Table | None:
    names = dict.fromkeys(
        (row.suite, row.metric) for evaluation in evaluations for row in evaluation.rows
        if not row.part and "/" not in row.metric and "policy" in row.scores
    )  # fmt: skip
    if not names:
        return None
    found = [{(row.suite, row.metric): row for row in evaluation.rows} for evaluation in evaluations]
    lines = []
    for suite, metric in names:
        rows = [by_name.get((suite, metric)) for by_name in found]
        line = [Cell(name_of(metric), suite), score_cell(_score(rows[0]))]
        for run, row in zip(runs[1:], rows[1:], strict=True):
            moved = _change((runs[0], rows[0]), (run, row), suite, metric)
            line += [score_cell(_score(row)), change_cell(moved, tone_of(moved, metric))]
        lines.append(tuple(line))
    columns = ["", visible(runs[0].name)]
    for run in runs[1:]:
        columns += [visible(run.name), "difference"]
    return Table("The policies of the runs; 95\u00a0% intervals", tuple(columns), tuple(lines))


def _score(row: Row | None) -> Any:
    return None if row is None else row.scores.get("policy")


def _change(
    first: tuple[Material, Row | None], second: tuple[Material, Row | None], suite: str, metric: str
) -> Change | None:
    before, after = _score(first[1]), _score(second[1])
    if before is None or after is None:
        return None
    same = shared(first[0], second[0])
    values: list[Mapping[str, float]] = []
    for run, _ in (first, second):
        rows = [answer for name, answer in _policy(run).items() if name in same]
        values.append(lengths(rows) if suite == "text" else values_of(rows, suite, metric))
    return change(before, after, values[0], values[1])


def tone_of(moved: Change | None, metric: str) -> Any:
    if moved is None:
        return ""
    if not moved.sure:
        return "unclear"
    way = direction(metric) * moved.gap.value
    return "changed" if way == 0 else ("better" if way > 0 else "worse")


def _settings(runs: Sequence[Material]) -> Table | None:
    """Settings that are not the same in all runs."""
    flat = [flattened(run.config) for run in runs]
    names = sorted(dict.fromkeys(name for settings in flat for name in settings))
    rows = []
    for name in names:
        values = [settings.get(name, "–") for settings in flat]
        if len(set(values)) > 1:
            rows.append((Cell(visible(name)), *cells(*(visible(excerpt(value, 60)) for value in values))))
    same = "The runs have the same settings."
    note = same if not rows else "All other settings are the same."
    return Table("Settings that differ", ("setting", *(visible(run.name) for run in runs)), tuple(rows), note)
