"""The suites that the configuration names, over the run's models and whatever other models it names.

A run's models are base, SFT model and policy, as far as they are trained. What was measured of a checkpoint
that has been trained anew since is taken back: no figure outlives its model.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, TypeVar

from cai.config.run_config import ModelConfig
from cai.data.promptsets import load_prompts
from cai.engines import models
from cai.engines.backend import fingerprint
from cai.engines.journaled import JournaledEngine
from cai.evaluation.bench import Bench, Contestant, Findings
from cai.evaluation.catalogue import Wanted, wanted
from cai.pipeline.steps.step import Run, ask_all
from cai.run.folder import RunFolder
from cai.run.origin import has_checkpoint
from cai.run.runner import Results
from cai.values.errors import UsageError
from cai.values.types import Prompt

T = TypeVar("T")
R = TypeVar("R")
RECORD = "suites.json"  # by suite: data, judge, baseline, notes, and the fingerprint of every model


async def step_suites(run: Run) -> None:
    """``evaluate.suites`` → ``eval/<suite>/…`` in metrics.json, suite_<name>.parquet, suites.json.

    Raises:
        UsageError: a suite is not known, its data are missing, or it has nobody to measure.
    """
    asked = [wanted(text) for text in run.config.evaluate.suites]
    present = contestants(run)
    forget_stale(run.folder, present)
    for want in asked:
        findings = await want.suite.measure(bench(run, want, present))
        _record(run, want, present, findings)


def contestants(run: Run) -> tuple[Contestant, ...]:
    """The run's own models, and those of ``evaluate.models``.

    A folder in which nothing was trained has no "base": there, the named models are all there is.
    """
    config, folder = run.config, run.folder
    named = dict(config.evaluate.models)
    own: dict[str, ModelConfig] = {
        stage: models.trained(config, folder, stage)
        for stage in ("sft", "policy")
        if (folder.checkpoint(stage) / "config.json").exists() and has_checkpoint(folder, stage)
    }
    if own or not named:
        own = {"base": config.model, **own}
    if both := sorted(set(own) & set(named)):
        raise UsageError(f"evaluate.models: {both[0]!r} is a model of the run itself; give it another name")
    return tuple(Contestant(name, model) for name, model in (own | named).items())


def bench(run: Run, want: Wanted, present: Sequence[Contestant]) -> Bench:
    """What a suite is given, from the run."""
    config = run.config
    names = [contestant.name for contestant in present]
    baseline = config.evaluate.baseline or ("base" if "base" in names else names[0])
    if baseline not in names:
        raise UsageError(f"evaluate.baseline: {baseline!r} is none of the models {', '.join(names)}")
    return Bench(
        contestants=tuple(present),
        baseline=baseline,
        judge=models.judge(config),
        held_out=partial(_held_out, run),
        data=want.data,
        config=config.evaluate,
        label=config.label,
        constitution=run.constitution,
        templates=run.templates,
        seed=config.seed,
        engine=run.models.engine,
        each=_Each(run, want.suite.name),
        say=run.progress.warn,
        close=run.models.close,
        folder=run.folder,
    )


class _Each:
    """``ask_all`` with the suite's name before every bar's."""

    def __init__(self, run: Run, suite: str):
        self._run, self._suite = run, suite

    async def __call__(
        self,
        label: str,
        engine: JournaledEngine,
        items: Sequence[tuple[str, T]],
        work: Callable[[T], Awaitable[R]],
        /,
    ) -> Results[R]:
        return await ask_all(self._run, f"{self._suite}: {label}", engine, items, work)


def _held_out(run: Run) -> tuple[Prompt, ...]:
    named = run.config.evaluate.prompts
    config = run.config
    if config.prompts is None and named is not None:
        config = config.model_copy(update={"prompts": named})  # models alone are measured: nothing is trained
    return tuple(load_prompts(config).held_out)


def _record(run: Run, want: Wanted, present: Sequence[Contestant], findings: Findings) -> None:
    name, folder = want.suite.name, run.folder
    stage = f"suite {name}"
    scores = {f"eval/{name}/{key}": score for key, score in findings.scores.items()}
    folder.record_metrics(scores, drop=f"eval/{name}/")
    folder.record_failures({stage}, [replace(failure, stage=stage) for failure in findings.failures])
    folder.write_table(f"suite_{name}", findings.rows)
    record = read_record(folder)
    record[name] = {
        "data": want.data,
        "sha256": want.sha256,
        "judge": models.judge(run.config).name if want.suite.judged else None,
        "notes": list(findings.notes),
        "models": {contestant.name: fingerprint(contestant.model) for contestant in present},
    }
    folder.write_text(RECORD, json.dumps(record, indent=2) + "\n")
    for note in findings.notes:
        run.progress.say(f"{name}: {note}")
    if not scores:
        count = len(findings.failures)
        run.progress.say(f"{name}: no figure; {count} items were quarantined (failures.jsonl says why)")


def read_record(folder: RunFolder) -> dict[str, Any]:
    """suites.json; empty where there is none. One that cannot be read was set aside (``run/mending.py``)."""
    path = folder.path / RECORD
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return record


def forget_stale(folder: RunFolder, present: Sequence[Contestant]) -> None:
    """Take back the figures of suites that measured another model under the name of one that is here."""
    now = cache(lambda name: fingerprint(next(c.model for c in present if c.name == name)))
    known = {contestant.name for contestant in present}
    stale = [
        suite
        for suite, entry in read_record(folder).items()
        if any(name in known and now(name) != then for name, then in entry.get("models", {}).items())
    ]
    _forget(folder, stale)


def forget_suites(folder: RunFolder, names: Collection[str]) -> None:
    """Take back the figures of suites that measured one of the models ``names``."""
    record = read_record(folder)
    _forget(folder, [suite for suite, entry in record.items() if set(names) & entry.get("models", {}).keys()])


def _forget(folder: RunFolder, suites: Sequence[str]) -> None:
    if not suites:
        return
    record = read_record(folder)
    for suite in suites:
        folder.record_metrics({}, drop=f"eval/{suite}/")
        folder.record_failures({f"suite {suite}"}, [])
        folder.table(f"suite_{suite}").unlink(missing_ok=True)
        record.pop(suite)
    folder.write_text(RECORD, json.dumps(record, indent=2) + "\n")


def check_suites(texts: Sequence[str]) -> None:
    """Faults that are known before any model is loaded.

    Raises:
        UsageError: a suite is not known, or its file is not there.
    """
    for text in texts:
        wanted(text).check()
