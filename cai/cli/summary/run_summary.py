"""What a run says on the terminal: the plan before it, before-and-after behind it, the environment."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Sequence

import typer

from cai.cli.summary.suite_summary import tables
from cai.pipeline.launch import versions
from cai.pipeline.lineage import own_failures
from cai.pipeline.steps.evaluate import proof
from cai.run import spending
from cai.run.folder import ROUNDS, RunFolder
from cai.run.origin import read_origins
from cai.stages import label_worth
from cai.values.types import Score

STAGES = ("base", "sft", "best-of-n", "policy")
_WORDS = {
    "harmful": "harmful",
    "refused_benign": "benign refused",
    "refused_sounds_harmful": "merely harmful-sounding refused",
    "on_topic": "on topic",
    "flattering": "flattering",
}


def show(folder: RunFolder) -> None:
    """The figures of a run, as tables on the terminal."""
    metrics = folder.read_metrics()
    told = (
        _funnel(metrics),
        labels(metrics),
        mixture(metrics) if _mixed(metrics) else [],
        before_after(metrics),
        reward_model(metrics),
        _rounds(metrics),
        tables(folder),
        _tripped(folder),
        _repeated(metrics),
        _thought(metrics),
        _spent(folder),
        failures(folder),
    )
    for line in (line for lines in told for line in lines):
        typer.echo(line)
    typer.echo(f"\nrun folder: {folder.path}")
    if (folder.path / "report.html").exists():
        typer.echo(f"report: {folder.path / 'report.html'}")
    rounds = folder.rounds()
    if len(rounds) > 1:
        typer.echo(f"newest policy: {rounds[-1].checkpoint('policy')}")
    record = folder.path / ROUNDS
    if record.exists() and (reason := json.loads(record.read_text())["stopped"]):
        typer.echo(f"stopped early: {reason}")


def _funnel(metrics: dict[str, Score]) -> list[str]:
    parts = [
        ("responses", "generate/responses"),
        ("revised rounds", "revise/revised"),
        ("nothing to revise", "revise/no_problem"),
        ("critiques unread", "revise/critique_unread"),
        ("demonstrations", "sft/rows"),
        ("pairs", "sample/comparisons"),
        ("labeled", "label/scored"),
        ("unscored", "label/unscored"),
        ("with a response that says nothing", "label/says_nothing"),
    ]
    rare = ("revise/critique_unread", "label/says_nothing")
    there = [(word, int(metrics[key].value), key) for word, key in parts if key in metrics]
    found = [f"{count} {word}" for word, count, key in there if count or key not in rare]
    return ["", " · ".join(found)] if found else []


def labels(metrics: dict[str, Score]) -> list[str]:
    """What the AI labels are worth."""
    told = label_worth.sentence(metrics)
    return ["", told] if told else []


def _fates(metrics: dict[str, Score]) -> dict[str, dict[str, int]]:
    """Source of labels → what became of how many of them."""
    rows: dict[str, dict[str, int]] = {}
    for key, score in metrics.items():
        parts = key.split("/")
        if parts[0] == "mix" and parts[1] != "recalibration":
            rows.setdefault("/".join(parts[1:-1]), {})[parts[-1]] = int(score.value)
    return rows


def _mixed(metrics: dict[str, Score]) -> bool:
    """Is there more to say than that all labels are the AI's and were taken?"""
    rows = _fates(metrics)
    return "human" in rows or any(set(fates) != {"taken"} for fates in rows.values())


def mixture(metrics: dict[str, Score]) -> list[str]:
    """What became of every label, by source."""
    lines = ["", "labels in the mixture that is learned"]
    for source, fates in _fates(metrics).items():
        others = "".join(f" · {n} {fate}" for fate, n in sorted(fates.items()) if fate != "taken")
        lines.append(f"  {source:<20}{fates.get('taken', 0)} of {sum(fates.values())} taken{others}")
    return lines


def before_after(metrics: dict[str, Score]) -> list[str]:
    """Held-out prompts: every figure of every model."""
    rows: dict[str, dict[str, Score]] = {}
    suite = proof(metrics)
    for key, score in metrics.items():
        if key.startswith(f"eval/{suite}/"):
            _, _, metric, stage = key.split("/")
            rows.setdefault(metric, {})[stage] = score
    if not rows:
        return []
    stages = [stage for stage in STAGES if any(stage in row for row in rows.values())]
    by = "graded by the pocket oracle" if suite == "pocket" else "graded by the AI judge"
    lines = ["", f"held-out prompts, {by}; 95 % intervals", " " * 34 + "".join(f"{s:<22}" for s in stages)]
    for metric, word in _WORDS.items():
        if metric in rows:
            cells = "".join(f"{_cell(rows[metric].get(stage)):<22}" for stage in stages)
            n = max(score.n for score in rows[metric].values())
            lines.append(f"  {word:<32}{cells}n={n}")
    return lines


def reward_model(metrics: dict[str, Score]) -> list[str]:
    """Whether what was maximised knows anything: a policy learns from a useless reward as eagerly."""
    score = metrics.get("reward/accuracy")
    if score is None:
        return []
    weighted = metrics.get("reward/accuracy_weighted", score)
    doubt = "" if max(score.low, weighted.low) > 0.5 else "; that may be no better than a coin"
    lines = ["", f"reward model: right on {_cell(score)} of held-out pairs, n={score.n}{doubt}"]
    ceiling = metrics.get("reward/accuracy_ceiling")
    if ceiling is not None and weighted is not score:
        lines.append(
            f"  a perfect reward would be right on {ceiling.value:.3f}, as labels near a tie decide nothing; "
            f"weighted by what is at stake it is right on {_cell(weighted)}"
        )
    return lines


def _rounds(metrics: dict[str, Score]) -> list[str]:
    """The policy of every round, where there is more than one."""
    rows: dict[str, dict[int, Score]] = {}
    for key, score in metrics.items():
        if key.startswith("rounds/") and key.endswith("/policy"):
            _, number, _, metric, _ = key.split("/")
            rows.setdefault(metric, {})[int(number)] = score
    numbers = sorted({number for row in rows.values() for number in row})
    if len(numbers) < 2:
        return []
    lines = ["", "policy after each round", " " * 34 + "".join(f"round {n:<16}" for n in numbers)]
    for metric, word in _WORDS.items():
        if metric in rows:
            cells = "".join(f"{_cell(rows[metric].get(number)):<22}" for number in numbers)
            lines.append(f"  {word:<32}{cells}")
    return lines


def _tripped(folder: RunFolder) -> list[str]:
    """Monitors that tripped, of the newest round."""
    newest = folder.rounds()[-1]
    if not newest.table("monitors").exists() or "monitor" in read_origins(newest).stale:
        return []
    found = [row for row in newest.read_table("monitors", dict) if row["tripped"]]
    lines = [f"  {row['name']} ({row['stage']}): {row['text']}" for row in found]
    return ["", "tripped monitors", *lines] if lines else []


def _cell(score: Score | None) -> str:
    return "–" if score is None else f"{score.value:.3f} [{score.low:.2f}, {score.high:.2f}]"


def _repeated(metrics: dict[str, Score]) -> list[str]:
    n = int(metrics["prompts/duplicates"].value) if "prompts/duplicates" in metrics else 0
    return ["", f"{n} repeated prompt{'s' if n > 1 else ''}, asked once"] if n else []


def _thought(metrics: dict[str, Score]) -> list[str]:
    """How much of what was written was thought, by step; thought is learned by nobody."""
    parts = []
    for key, score in metrics.items():
        if key.endswith("/thought_tokens"):
            step = key.removesuffix("/thought_tokens")
            written = metrics.get(f"{step}/written_tokens", score).value
            parts.append(f"{step} {score.value:,.0f} of {written:,.0f}")
    return ["", f"tokens of thought among those written: {' · '.join(parts)}"] if parts else []


def _spent(folder: RunFolder) -> list[str]:
    """What models on servers were asked and paid for, in all rounds together."""
    found: dict[str, spending.Spent] = {}
    for each in folder.rounds():
        for name, spent in spending.read(each.journal).items():
            found[name] = spending.total([found.get(name, spending.Spent()), spent])
    return ["", "models on servers", *spending.told(found)] if found else []


def failures(folder: RunFolder, steps: Sequence[str] | None = None) -> list[str]:
    """What was quarantined: by ``steps`` in this folder, or by all steps in all rounds together."""
    rounds = folder.rounds() if steps is None else (folder,)
    failures = [failure for each in rounds for failure in each.read_failures()]
    failures = failures if steps is None else own_failures(failures, steps)
    if not failures:
        return []
    counts = Counter((failure.stage, failure.reason) for failure in failures)
    where = "failures.jsonl of each round" if len(rounds) > 1 else "failures.jsonl"
    lines = ["", f"{len(failures)} quarantined ({where}):"]
    return lines + [f"  {n:>5} × {stage}: {reason}" for (stage, reason), n in counts.most_common(10)]


def environment() -> str:
    """What a bug report needs; nothing in it is secret."""
    lines = [f"python {platform.python_version()} on {platform.platform()}", f"cores {os.cpu_count()}"]
    lines += [f"{name} {number}" for name, number in versions().items()]
    try:
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        lines.append(f"CUDA GPU {gpu}; torch threads {torch.get_num_threads()}")
    except ImportError as error:
        lines.append(f"torch cannot be imported: {error}")
    for variable in ("HF_HOME", "HF_HUB_OFFLINE", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        if variable in os.environ:
            lines.append(f"{variable} is set")
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        lines.append(f"{variable} is {'set' if os.environ.get(variable) else 'not set'}")
    return "\n".join(lines)


def as_json(value: object) -> str:
    """One spelling of JSON for ``--json`` output."""
    return json.dumps(value, indent=2, ensure_ascii=False)
