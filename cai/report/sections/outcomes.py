"""The figures of the suites: before and after, their changes, the verdict in three sentences.

Generic over metrics.json: ``eval/<suite>/<metric>/<model>``, whatever suites, metrics and models there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from cai.report.blocks import Cell, Table, Tone, between, cells, listed, number, score_cell, signed
from cai.report.material import Material, in_order
from cai.report.paired import Change, average, change, lengths, values_of
from cai.report.wording import METRICS, SUITES, direction, is_part, model_name, name_of
from cai.values.types import Score

PREFIX = "eval/"


@dataclass(frozen=True, slots=True)
class Row:
    """A metric of a suite by model. ``part``: it belongs to another row and counts in no verdict."""

    suite: str
    metric: str
    scores: dict[str, Score]
    change: Change | None
    part: bool = False

    @property
    def tone(self) -> Tone:
        if self.change is None:
            return ""
        if not self.change.sure:
            return "unclear"
        way = direction(self.metric) * self.change.gap.value
        return "changed" if way == 0 else ("better" if way > 0 else "worse")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``before`` and ``after`` are the models that are compared; None where fewer than two were measured."""

    rows: tuple[Row, ...]
    models: tuple[str, ...]
    before: str | None
    after: str | None

    def suites(self) -> list[str]:
        return list(dict.fromkeys(row.suite for row in self.rows))


def evaluate(material: Material) -> Evaluation:
    found: dict[tuple[str, str], dict[str, Score]] = {}
    for key, score in material.metrics.items():
        parts = key.split("/")
        if key.startswith(PREFIX) and len(parts) >= 4:
            found.setdefault((parts[1], "/".join(parts[2:-1])), {})[parts[-1]] = score
    of_suite: dict[str, set[str]] = {}
    for suite, metric in found:
        of_suite.setdefault(suite, set()).add(metric)
    words = {model: average(lengths(answers)) for model, answers in material.answers.items()}
    measured = {model: score for model, score in words.items() if score is not None}
    if measured:
        found["text", "length"] = measured
    models = in_order({model for scores in found.values() for model in scores})
    before, after = _compared(models)
    rows = []
    for (suite, metric), scores in sorted(found.items(), key=lambda item: _place(*item[0])):
        moved = _change(material, suite, metric, scores, (before, after))
        rows.append(Row(suite, metric, scores, moved, is_part(metric, of_suite.get(suite, set()))))
    return Evaluation(tuple(rows), tuple(models), before, after)


def _place(suite: str, metric: str) -> tuple[int, str, int, str]:
    """Suites that are known first, what is counted from the answers last; figures in the order of METRICS."""
    suites, metrics = [*SUITES, suite], [*METRICS, metric]
    return suites.index(suite), suite, metrics.index(metric), metric


def _compared(models: list[str]) -> tuple[str | None, str | None]:
    """Base and policy where they are there; else the first and the last model of the run."""
    known = [model for model in ("base", "sft", "policy", "best-of-n") if model in models]
    if len(known) < 2:
        return None, None
    after = "policy" if "policy" in known else known[-1]
    return known[0], after


def _change(
    material: Material,
    suite: str,
    metric: str,
    scores: dict[str, Score],
    compared: tuple[str | None, str | None],
) -> Change | None:
    before, after = compared
    if before is None or after is None or before not in scores or after not in scores:
        return None
    pair = [material.answers.get(model, []) for model in (before, after)]
    values = [lengths(a) if suite == "text" else values_of(a, suite, metric) for a in pair]
    return change(scores[before], scores[after], values[0], values[1])


def headline(evaluation: Evaluation) -> list[Row]:
    """Rows that count in the verdict: no parts of others, no matrix, and measured before and after."""
    return [
        row for row in evaluation.rows if row.change is not None and not row.part and "/" not in row.metric
    ]


def verdict(evaluation: Evaluation) -> tuple[str, ...]:
    """Three sentences: what got better, what got worse, what cannot be told. By rule, from the intervals."""
    rows = headline(evaluation)
    graded = [row for row in rows if row.suite != "text"]
    if not graded or evaluation.before is None or evaluation.after is None:
        return ("No figure was measured both before and after the training, so nothing can be said of it.",)
    several = len({row.suite for row in graded}) > 1
    by = {
        tone: [row for row in graded if row.tone == tone]
        for tone in ("better", "worse", "unclear", "changed")
    }
    before, after = _the(evaluation.before), _the(evaluation.after)
    first = (
        f"{after[0].upper()}{after[1:]} is better than {before} in {len(by['better'])} of "
        f"{_figures(len(graded))}: {listed([_told(row, several) for row in by['better']])}."
        if by["better"]
        else f"In none of {_figures(len(graded))} is {after} better than {before} beyond the interval."
    )
    second = (
        f"It got worse in {len(by['worse'])}: {listed([_told(row, several) for row in by['worse']])}."
        if by["worse"]
        else "None of them got worse beyond its interval."
    )
    if by["unclear"]:
        third = (
            f"For {len(by['unclear'])} the data cannot tell: "
            f"{listed([_open(row, several) for row in by['unclear']])}."
        )
    else:
        third = "There is none for which the data leave it open."
    if by["changed"]:
        moved = listed([_told(row, several) for row in by["changed"]])
        third += f" Changed, and whether for better or worse is not known: {moved}."
    return first, second, third


def _figures(count: int) -> str:
    return f"{count} headline figure{'s' if count != 1 else ''}"


def _the(model: str) -> str:
    return f"the {model_name(model)}{'' if model in ('policy', 'best-of-n') else ' model'}"


def _told(row: Row, several: bool) -> str:
    assert row.change is not None
    c = row.change
    verb = "rose" if c.gap.value > 0 else "fell"
    sure = f"{signed(c.gap.value)} {between(c.gap, plus=True)}"
    return f"{_name(row, several)} {verb} from {number(c.before.value)} to {number(c.after.value)} ({sure})"


def _open(row: Row, several: bool) -> str:
    assert row.change is not None
    gap = row.change.gap
    return f"{_name(row, several)} ({signed(gap.value)} {between(gap, plus=True)})"


def _name(row: Row, several: bool) -> str:
    return f"{name_of(row.metric)} ({row.suite})" if several else name_of(row.metric)


_TOLD: dict[Tone, str] = {
    "better": "better",
    "worse": "worse",
    "changed": "changed",
    "unclear": "cannot be told",
    "": "",
}


def change_cell(moved: Change | None, tone: Tone) -> Cell:
    if moved is None:
        return Cell("–", number=True)
    how = "paired" if moved.paired else "unpaired"
    note = f"{between(moved.gap, plus=True)}\n{_TOLD[tone]}, {how}"
    return Cell(signed(moved.gap.value), note, tone, number=True)


def suite_table(evaluation: Evaluation, suite: str, parts: bool, note: str = "") -> Table | None:
    """A suite's rows: its headline figures, or the parts of them."""
    rows = [row for row in evaluation.rows if row.suite == suite and row.part == parts]
    rows = [row for row in rows if not row.metric.startswith("win_rate/")]
    if not rows:
        return None
    models = in_order({model for row in rows for model in row.scores})
    compared = any(row.change for row in rows)
    alike = all(len({score.n for score in row.scores.values()}) == 1 for row in rows)
    lines = []
    for row in rows:
        line = [Cell(name_of(row.metric))]
        line += [score_cell(row.scores.get(model), with_n=not alike) for model in models]
        line += [change_cell(row.change, row.tone)] if compared else []
        line += cells(next(iter(row.scores.values())).n) if alike else []
        lines.append(tuple(line))
    what = f"{'parts: ' if parts else ''}{SUITES.get(suite, f'suite {suite}')}"
    last = (
        (f"{model_name(str(evaluation.after))} − {model_name(str(evaluation.before))}",) if compared else ()
    )
    columns = ("", *map(model_name, models), *last, *(("n",) if alike else ()))
    return Table(f"{what[0].upper()}{what[1:]}; 95\u00a0% intervals", columns, tuple(lines), note)


def matrix(evaluation: Evaluation, suite: str) -> Table | None:
    """``eval/<suite>/win_rate/<row model>/<column model>``: how often the row's model wins."""
    rows = [row for row in evaluation.rows if row.suite == suite and row.metric.startswith("win_rate/")]
    if not rows:
        return None
    columns = in_order({model for row in rows for model in row.scores})
    lines = [
        (
            Cell(model_name(row.metric.removeprefix("win_rate/"))),
            *(score_cell(row.scores.get(m)) for m in columns),
        )
        for row in rows
    ]
    return Table(
        "How often the model of the row wins against that of the column; 95\u00a0% intervals",
        ("", *map(model_name, columns)),
        tuple(lines),
    )
