"""What went in, what came out of every stage, what was quarantined and why, and what it cost."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from cai.report.blocks import Cell, Table, cells, count_cell
from cai.report.material import Material
from cai.report.wording import OUTCOMES, model_name, stage_model
from cai.values.types import Score
from cai.values.words import excerpt, visible

_STEPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "prompts",
        (
            ("prompts/duplicates", "repeated prompts, asked once"),
            ("prompts/opened_alike", "prompts that open as an evaluation prompt does, left out"),
        ),
    ),
    (
        "generate",
        (("generate/responses", "prompts answered"), ("generate/helpful", "helpful prompts answered")),
    ),
    (
        "revise",
        (
            ("revise/transcripts", "answers revised or found clean"),
            ("revise/critique_unread", "rounds with a critique that gave no verdict"),
        ),
    ),
    (
        "select",
        (
            ("select/revision", "demonstrations: revisions"),
            ("select/kept", "demonstrations: kept as they were"),
            ("select/helpful", "demonstrations: helpful answers"),
        ),
    ),
    (
        "sample",
        (
            ("sample/comparisons", "pairs of different answers"),
            ("sample/prompts_with_identical", "prompts with identical answers"),
        ),
    ),
    (
        "label",
        (
            ("label/scored", "pairs labeled"),
            ("label/unscored", "pairs unscored"),
            ("label/says_nothing", "pairs with a response that says nothing, not asked about"),
            ("label/order_flips", "judgements that flip with the order"),
        ),
    ),
    (
        "best of n",
        (
            ("best-sample/responses", "responses drawn"),
            ("best-sample/unscored", "responses without a reward"),
            ("best-select/best", "demonstrations: best of n"),
        ),
    ),
)
_TRAININGS = ("sft", "reward", "dpo", "ppo", "grpo", "rloo", "best-sft")
NO_QUARANTINE = "Nothing was quarantined: every item that was started was finished."


def funnel_table(material: Material) -> Table | None:
    """Counts by stage, in the order of the pipeline."""
    metrics = material.metrics
    lines: list[tuple[str, str, float]] = []
    for stage, counts in _STEPS:
        lines += [(stage, words, metrics[key].value) for key, words in counts if key in metrics]
        if stage == "revise":
            names = [(f"revise/{name}", f"rounds: {words}") for name, words in OUTCOMES.items()]
            lines += [(stage, w, metrics[k].value) for k, w in names if k in metrics and metrics[k].value]
    lines = [line for line in lines if line[2] or line[1] != "repeated prompts, asked once"]
    lines += _mixed(metrics)
    for stage in _TRAININGS:
        if f"{stage}/rows" in metrics:
            lines.append((f"train {stage}", "rows learned", metrics[f"{stage}/rows"].value))
    lines += [
        ("evaluate", f"held-out prompts answered by {model_name(model)}", float(len(answers)))
        for model, answers in material.answers.items()
    ]
    if not lines:
        return None
    most = max(value for *_, value in lines)
    rows = tuple((Cell(words), Cell(stage), count_cell(value, most)) for stage, words, value in lines)
    return Table("What every step made", ("", "step", "count"), rows)


def _mixed(metrics: dict[str, Score]) -> list[tuple[str, str, float]]:
    fates: Counter[str] = Counter()
    for key, score in metrics.items():
        parts = key.split("/")
        if parts[0] == "mix" and len(parts) >= 3 and parts[1] != "recalibration":
            fates["taken" if parts[-1] == "taken" else "left out"] += round(score.value)
    return [("mix", f"labels {fate}", float(n)) for fate, n in fates.items()]


def failure_table(material: Material) -> Table | None:
    """Quarantined items by stage and reason, with one of them."""
    counts = Counter((failure.stage, failure.reason) for failure in material.failures)
    if not counts:
        return None
    first = {(failure.stage, failure.reason): failure for failure in reversed(material.failures)}
    rows = []
    for (stage, reason), count in counts.most_common(50):
        example = first[stage, reason]
        detail = f"{excerpt(visible(example.detail), 160)}" if example.detail else ""
        rows.append(
            (Cell(visible(reason)), Cell(visible(stage)), *cells(count), Cell(visible(example.item), detail))
        )
    more = f" The {len(counts) - 50} rarest reasons are in failures.jsonl." if len(counts) > 50 else ""
    return Table(
        "Quarantined items",
        ("reason", "step", "items", "for one"),
        tuple(rows),
        f"All of them are in failures.jsonl.{more}",
    )


def seconds_table(material: Material) -> Table | None:
    """Seconds and, for trainings, tokens of every step that was walked last, from manifest.json."""
    seconds = material.manifest.get("seconds")
    if not isinstance(seconds, dict) or not seconds:
        return None
    times = {str(stage): float(spent) for stage, spent in seconds.items() if isinstance(spent, int | float)}
    most = max(times.values(), default=0.0)
    rows = []
    for stage, spent in times.items():
        tokens = material.metrics.get(f"{stage}/tokens")
        learned = int(tokens.value) if tokens else None
        rows.append(
            (
                Cell(stage),
                Cell(f"{spent:,.1f}", number=True, bar=spent / most if most else None),
                *cells(learned),
            )
        )
    rows.append((Cell("all"), Cell(f"{sum(times.values()):,.1f}", number=True), Cell("")))
    note = (
        "Seconds of the last time each step was walked. A step whose answers lay in the journal already "
        "took next to none."
    )
    return Table("Time by step", ("step", "seconds", "tokens learned"), tuple(rows), note)


def calls_table(path: Path) -> Table | None:
    """Calls and tokens of every model, from the journal; by stage, where the journal has that column.

    Raises:
        sqlite3.Error: the journal cannot be read.
    """
    if not path.is_file():
        return None
    idle = not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.resolve().as_uri()}?{'immutable=1' if idle else 'mode=ro'}"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        staged = "stage" in {row[1] for row in db.execute("PRAGMA table_info(answers)")}
        by = "stage, engine, verb" if staged else "engine, verb"
        tokens = [
            f"SUM(COALESCE(json_extract(answer, '$.{kind}_tokens'), 0))" for kind in ("prompt", "completion")
        ]
        # An answer that cannot be read counts as not there; the next run that needs it asks again.
        rest = f"FROM answers WHERE json_valid(answer) GROUP BY {by} ORDER BY MIN(created)"
        query = f"SELECT {by}, COUNT(*), {', '.join(tokens)} {rest}"
        found: list[Any] = db.execute(query).fetchall()
    if not found:
        return None
    verbs = {"complete": "texts", "choose": "log-probabilities"}
    rows = []
    for *names, calls, asked, answered in found:
        engine, verb = names[-2:]
        what = [Cell(str(names[0] or "–"))] if staged else []
        name = Cell(visible(stage_model(str(engine))))
        rows.append((*what, name, Cell(verbs.get(verb, str(verb))), *cells(calls, int(asked), int(answered))))
    head = ("step", "model") if staged else ("model",)
    note = "" if staged else "The journal keeps which model was asked, not for which step."
    return Table(
        "Calls in the journal",
        (*head, "asked for", "calls", "prompt tokens", "sampled tokens"),
        tuple(rows),
        f"{note} An answer that several steps used is counted once.".strip(),
    )
