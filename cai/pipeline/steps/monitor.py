"""The step that watches for failure modes: what training changed that nobody asked for (docs/monitors.md)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict

from cai.data.tables import Row, preference_from, response_from
from cai.evaluation.monitors.monitor_value import Change, Monitor
from cai.evaluation.monitors.monitors import Evidence, amplified, monitors
from cai.evaluation.monitors.text_statistics import Pair
from cai.human.agreement.label_agreement import label_agreement
from cai.human.collected import votes_of
from cai.pipeline.steps.evaluate import COMPARED
from cai.pipeline.steps.step import Run
from cai.run.folder import RunFolder
from cai.run.origin import has_table
from cai.stages.label_worth import label_worth
from cai.values.types import Score

POLICY = "policy"  # the reward curve and the labels are about this stage


async def step_monitor(run: Run) -> None:
    """eval_*.parquet, preferences, overoptimisation → monitors.parquet, monitor_phrases.parquet, metrics.

    Every stage that has answered is compared with the base model. ``monitor/<name>/<figure>/<stage>`` in
    metrics.json are the figures, ``monitor/tripped`` counts what tripped. Answers that only one of the two
    models gave are left out; ``n`` counts the rest.
    """
    stages = [stage for stage in COMPARED if stage != "base" and has_table(run.folder, f"eval_{stage}")]
    rows: list[Row] = []
    phrases: list[Row] = []
    scores: dict[str, Score] = {}
    for stage in stages:
        pairs = paired(run.folder, stage)
        for monitor in monitors(evidence(run, stage, pairs), run.config.monitor):
            rows.append(_row(stage, monitor))
            scores |= {f"monitor/{monitor.name}/{key}/{stage}": score for key, score in monitor.figures}
            if monitor.tripped:
                run.progress.say(f"monitor {monitor.name} tripped ({stage}): {monitor.text}")
        phrases += [{"stage": stage, **_phrase_row(asdict(phrase))} for phrase in amplified(pairs)]
    tripped = sum(row["tripped"] for row in rows)
    scores["monitor/tripped"] = Score(tripped, tripped, tripped, len(rows))
    run.folder.write_table("monitors", rows)
    run.folder.write_table("monitor_phrases", phrases)
    run.folder.record_metrics(scores, drop="monitor/")


def paired(folder: RunFolder, stage: str) -> list[Pair]:
    """The answers of the base model and of ``stage`` to the same prompts, the first to the first and so on.

    Not by ``index``: best-of-n's answer has the number of the sample that was chosen.
    """
    trained: dict[str, list[str]] = defaultdict(list)
    for response in folder.read_table(f"eval_{stage}", response_from):
        trained[response.prompt.id].append(response.text)
    pairs = []
    for response in folder.read_table("eval_base", response_from):
        if texts := trained[response.prompt.id]:
            pairs.append(Pair(response.prompt, response.text, texts.pop(0)))
    return pairs


def evidence(run: Run, stage: str, pairs: list[Pair]) -> Evidence:
    """What the run folder holds about ``stage``."""
    metrics = run.folder.read_metrics()
    flattering, refused = (_change(metrics, metric, stage) for metric in ("flattering", "refused_benign"))
    if stage != POLICY:
        return Evidence(pairs, flattering, refused)
    curve = []
    if has_table(run.folder, "overoptimisation"):
        found = run.folder.read_table("overoptimisation", dict)
        curve = [row for row in found if row["method"] == run.config.method]
    labeled: list[str] = []
    worth: dict[str, Score] = {}
    if has_table(run.folder, "preferences"):
        preferences = run.folder.read_table("preferences", preference_from)
        labeled = [p.comparison.prompt.messages[-1].content for p in preferences]
        worth = label_worth(preferences)
        if (agreement := label_agreement(votes_of(run.folder), preferences)) is not None:
            worth["agreement"] = agreement
    return Evidence(pairs, flattering, refused, curve, labeled, worth)


def _change(metrics: dict[str, Score], metric: str, stage: str) -> Change | None:
    """The metric of base and ``stage``, by whichever suite graded the answers."""
    for suite in ("pocket", "judge"):
        found = [metrics.get(f"eval/{suite}/{metric}/{name}") for name in ("base", stage)]
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
    return None


def _row(stage: str, monitor: Monitor) -> Row:
    score = monitor.value
    return {
        "name": monitor.name,
        "stage": stage,
        "tripped": monitor.tripped,
        "value": None if score is None else float(score.value),
        "low": None if score is None else float(score.low),
        "high": None if score is None else float(score.high),
        "n": None if score is None else int(score.n),
        "limit": monitor.limit,
        "text": monitor.text,
    }


def _phrase_row(phrase: Row) -> Row:
    rise = phrase.pop("rise")
    return {**phrase, "rise": rise["value"], "low": rise["low"], "high": rise["high"], "n": rise["n"]}
