"""``cai export RUN --format inspect``: a run's transcripts as a log that Inspect's viewer opens.

    cai export runs/latest --format inspect --to logs/run.json && inspect view --log-dir logs

One sample per revised prompt (the response, each critique and each revision as turns) and one per answer to a
held-out prompt, with its figures. The form is Inspect's ``EvalLog``, version 2, as JSON. Turns of the user in
a revision are the principle's own words; worked examples that the critic saw besides are not in the log.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cai.config.run_config import RunConfig
from cai.constitution.load import Principle, load_constitution
from cai.data.tables import response_from, transcript_from
from cai.pipeline.steps.evaluate import COMPARED, proof
from cai.run.folder import RunFolder, atomic_write
from cai.run.journal import digest
from cai.run.origin import has_table
from cai.values.errors import CaiError, UsageError
from cai.values.types import Message, Response, Round, Score, Transcript

VERSION = 2
Json = dict[str, Any]
STOP = {"stop": "stop", "length": "max_tokens"}  # ours → Inspect's


@dataclass(frozen=True, slots=True)
class InspectReport:
    """What was written: samples by kind."""

    file: Path
    samples: dict[str, int] = field(default_factory=dict)


def describe(report: InspectReport) -> list[str]:
    """Lines for a person."""
    total = sum(report.samples.values())
    lines = [f"{report.file}: {total:,} samples as an Inspect log"]
    lines += [f"  {count:,} {kind}" for kind, count in report.samples.items()]
    return [*lines, f"now: inspect view --log-dir {report.file.parent}"]


def export_inspect(run: Path, target: Path) -> InspectReport:
    """Write the log of a run folder.

    Raises:
        UsageError: no run folder, nothing in it to show, or the target is no .json file.
        CaiError: a file of the run cannot be read.
    """
    if target.suffix.lower() != ".json":
        raise UsageError(f"{target}: an Inspect log is written as .json")
    folder = RunFolder(run)
    config = _config(folder)
    samples = {"revised prompts": _revisions(folder, config), "answers to held-out prompts": _answers(folder)}
    if not any(samples.values()):
        raise UsageError(f"{run}: neither transcripts nor answers to held-out prompts in it yet; see cai run")
    everything = [sample for kind in samples.values() for sample in kind]
    text = json.dumps(_log(folder, config, everything), ensure_ascii=False, allow_nan=False, indent=1)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return InspectReport(target, {kind: len(found) for kind, found in samples.items()})


def _config(folder: RunFolder) -> RunConfig:
    path = folder.path / "config.yaml"
    if not path.is_file():
        raise UsageError(f"{folder.path}: not a run folder (no config.yaml); --format inspect writes runs")
    try:
        return RunConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (ValueError, yaml.YAMLError) as error:
        raise CaiError(f"{path}: cannot be read ({error})") from error


def _log(folder: RunFolder, config: RunConfig, samples: list[Json]) -> Json:
    manifest = _manifest(folder)
    identity = digest("inspect", manifest.get("config"), manifest.get("models"), manifest.get("seed"))[:22]
    metrics = folder.read_metrics()
    return {
        "version": VERSION,
        "status": "success",
        "eval": {
            "eval_id": identity,
            "run_id": identity,
            "task_id": identity,
            "created": _created(folder),
            "task": "constitutional-ai",
            "dataset": {
                "name": config.prompts or config.model.name,
                "samples": len(samples),
                "sample_ids": [sample["id"] for sample in samples],
                "shuffled": False,
            },
            "model": config.model.name,
            "config": {},
            "packages": manifest.get("packages", {}),
            "metadata": {"seed": config.seed, "constitution": config.constitution, "method": config.method},
        },
        "plan": {
            "name": "plan",
            "steps": [{"solver": "critique_and_revise", "params": config.revise.model_dump(mode="json")}],
        },
        "results": {
            "total_samples": len(samples),
            "completed_samples": len(samples),
            "scores": _results(metrics),
        },
        "samples": samples,
    }


def _manifest(folder: RunFolder) -> Json:
    path = folder.path / "manifest.json"
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise CaiError(f"{path}: cannot be read ({error})") from error
    return found


def _created(folder: RunFolder) -> str:
    """When the run last wrote its configuration: exports of one run are equal."""
    seconds = int((folder.path / "config.yaml").stat().st_mtime)
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


# --- samples ----------------------------------------------------------------------------------


def _revisions(folder: RunFolder, config: RunConfig) -> list[Json]:
    if not folder.table("transcripts").exists():
        return []
    path = folder.path / "constitution.yaml"
    constitution = load_constitution(path if path.exists() else config.constitution)
    principles = {principle.id: principle for principle in constitution.principles}
    critic = (config.critic or config.model).name
    found = folder.read_table("transcripts", transcript_from)
    return [_revision(transcript, principles, config.model.name, critic) for transcript in found]


def _revision(transcript: Transcript, principles: Mapping[str, Principle], policy: str, critic: str) -> Json:
    prompt = transcript.prompt
    messages = [_turn(message) for message in prompt.messages]
    messages.append(_said(transcript.initial, policy, "response"))
    for one in transcript.rounds:
        messages += _round(one, principles.get(one.principle_id), critic)
    outcome = transcript.rounds[-1].outcome.value if transcript.rounds else "not revised"
    return {
        "id": f"revision/{prompt.id}",
        "epoch": 1,
        "input": [_turn(message) for message in prompt.messages],
        "target": "",
        "messages": messages,
        "output": _output(critic if transcript.rounds else policy, transcript.final, "stop"),
        "scores": {"outcome": {"value": outcome, "answer": transcript.final}},
        "metadata": {
            "kind": "revision",
            "tags": list(prompt.tags),
            "outcomes": [
                {"round": r.index, "principle": r.principle_id, "outcome": r.outcome.value}
                for r in transcript.rounds
            ],
        },
    }


def _round(one: Round, principle: Principle | None, critic: str) -> list[Json]:
    """The turns of one critique and revision; a turn that was not taken is left out."""
    about = {"round": one.index, "principle": one.principle_id, "outcome": one.outcome.value}
    turns: list[Json] = []
    steps = (("critique", one.critique), ("revision", one.raw_revision))
    for kind, text in steps:
        if text is None:
            continue
        asked = getattr(principle, kind) if principle is not None else one.principle_id
        turns.append({**_turn(Message("user", asked)), "metadata": about})
        turns.append(_said(text, critic, kind, about))
    return turns


def _answers(folder: RunFolder) -> list[Json]:
    suite = proof(folder.read_metrics())
    samples: list[Json] = []
    for stage in COMPARED:
        if has_table(folder, f"eval_{stage}"):
            rows = folder.read_table(f"eval_{stage}", lambda row: (response_from(row), row))
            samples += [_answer(stage, suite, response, row) for response, row in rows]
    return samples


def _answer(stage: str, suite: str | None, response: Response, row: Mapping[str, Any]) -> Json:
    prompt = response.prompt
    given = [_turn(message) for message in prompt.messages]
    scores = {
        name: {"value": value, "answer": response.text}
        for name, value in row.items()
        if suite is not None and name.startswith(f"{suite}/") and value is not None
    }
    return {
        "id": f"{stage}/{prompt.id}",
        "epoch": 1,
        "input": given,
        "target": "",
        "messages": [*given, _said(response.text, stage, "answer")],
        "output": _output(stage, response.text, STOP[response.finish]),
        "scores": scores or None,
        "metadata": {"kind": "answer", "model": stage, "tags": list(prompt.tags)},
    }


def _turn(message: Message) -> Json:
    return {"role": message.role, "content": message.content, "source": "input"}


def _said(text: str, model: str, kind: str, about: Mapping[str, Any] | None = None) -> Json:
    turn = {"role": "assistant", "content": text, "source": "generate", "model": model}
    return {**turn, "metadata": {"kind": kind, **(about or {})}}


def _output(model: str, text: str, reason: str) -> Json:
    message = {"role": "assistant", "content": text, "source": "generate", "model": model}
    return {
        "model": model,
        "choices": [{"message": message, "stop_reason": reason}],
        "completion": text,
    }


# --- figures ----------------------------------------------------------------------------------


def _results(metrics: Mapping[str, Score]) -> list[Json]:
    """One score per ``eval/<suite>/<metric>``, its metrics the models, intervals beside them."""
    found: dict[str, Json] = {}
    for key, score in metrics.items():
        head, _, rest = key.partition("/")
        suite, _, rest = rest.partition("/")
        metric, _, model = rest.rpartition("/")
        if head != "eval" or not metric:
            continue
        about = {name: value for name, value in asdict(score).items() if name != "value"}
        entry = found.setdefault(
            f"{suite}/{metric}", {"name": f"{suite}/{metric}", "scorer": suite, "metrics": {}}
        )
        entry["metrics"][model] = {"name": model, "value": score.value, "metadata": about}
    return list(found.values())
