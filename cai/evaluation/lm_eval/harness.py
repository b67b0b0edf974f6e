"""EleutherAI's lm-eval over the contestants' checkpoints: its tasks, its prompts, its figures.

    found = await measure_all(bench, [Task("truthfulqa_mc1", ("acc",), ("question",), "validation", rows)])
    found["base"]["truthfulqa_mc1"].figures["acc"]

lm-eval works in a process of its own (``harness_worker.py``), one model at a time, and what it found lies in
the run folder as data/harness_<hash>.json: measured again, it costs nothing. It reads the weights itself, in
the precision of the model's own engine, without a chat template and zero-shot as its tasks are written.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cai.config.run_config import ModelConfig
from cai.data.tables import Row
from cai.engines.backend import fingerprint, model_path, on_a_server
from cai.engines.model_files import has_gpu, resolve_dtype
from cai.evaluation.bench import Bench, Contestant
from cai.evaluation.kept import read_kept, write_kept
from cai.run.journal import digest
from cai.statistics.clusters import wilson
from cai.values.errors import CaiError, EngineError, UsageError
from cai.values.types import Score

WORKER = Path(__file__).with_name("harness_worker.py")
Z = 1.96  # of lm-eval's standard errors
BATCH = {"cuda": 8, "cpu": 1}  # on a CPU as lm-eval does when nothing is said, to the last bit


@dataclass(frozen=True, slots=True)
class Task:
    """One of lm-eval's tasks: which of its metrics are wanted, and which columns of an item are kept.

    ``rows`` replace the data of the task's ``split``, in the columns of its own dataset; None: its own data,
    which lm-eval fetches from the hub.
    """

    name: str
    metrics: tuple[str, ...]
    keep: tuple[str, ...]
    split: str
    rows: tuple[Row, ...] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What lm-eval found: by metric its figure and standard error (None where it gives none).

    ``items``: ``id``, the kept columns, ``answer`` (the likeliest choice), the item's own metrics, and
    ``cut``: whether it was longer than ``context``, the tokens that the model takes, and lost its beginning.
    """

    figures: Mapping[str, float | None]
    stderr: Mapping[str, float | None]
    version: str
    items: tuple[Row, ...]
    context: int = 0

    @property
    def cut(self) -> int:
        return sum(bool(item.get("cut")) for item in self.items)


async def measure_all(bench: Bench, tasks: Sequence[Task]) -> dict[str, dict[str, Measured]]:
    """By model and task. Without rows of its own, a task is cut to its first ``evaluate.items``.

    Raises:
        UsageError: lm-eval is not installed, a model is on a server, or a task's data cannot be had.
        EngineError: lm-eval failed with a model.
    """
    version = installed()
    for contestant in bench.contestants:
        _need_weights(contestant)
    return {
        contestant.name: await _measure(bench, contestant, tasks, version) for contestant in bench.contestants
    }


def installed() -> str:
    """lm-eval's version.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.metadata.version("lm-eval")
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            "this suite is lm-eval's, which is not installed: pip install 'cai[lm-eval]'"
        ) from None


def share(found: Measured, metric: str) -> Score | None:
    """A mean in [0, 1] with lm-eval's standard error: value ± 1.96 of it, cut to the range.

    Where all items are alike that error is 0, and Wilson's interval stands in; one item says nothing.
    """
    value, stderr, n = found.figures[metric], found.stderr[metric], len(found.items)
    if value is None:
        return None
    if n < 2 or stderr is None:
        return Score(value, 0.0, 1.0, n)
    if stderr == 0.0:
        return Score(value, *wilson(value, n), n)
    return Score(value, max(0.0, value - Z * stderr), min(1.0, value + Z * stderr), n)


def said(found: Mapping[str, Mapping[str, Measured]]) -> tuple[str, ...]:
    """Which tasks of which lm-eval these figures are, and which of its items it cut, for a reader of them."""
    tasks = {
        f"{name} (version {task.version})" for of_model in found.values() for name, task in of_model.items()
    }
    about = f"lm-eval {installed()}, {', '.join(sorted(tasks))}, zero-shot, without a chat template"
    cut = [
        f"warning: {task.cut} of {len(task.items)} items of {name} are longer than the {task.context} tokens "
        f"that {model} takes; lm-eval cut off their beginnings, and the figures count what was left"
        for model, own in found.items()
        for name, task in own.items()
        if task.cut
    ]
    return (about, *cut)


def _need_weights(contestant: Contestant) -> None:
    if on_a_server(contestant.model):
        raise UsageError(
            f"lm-eval reads the weights of a model, and {contestant.name} ({contestant.model.name}) is on a "
            "server: name its checkpoint folder, or leave this suite out"
        )


async def _measure(
    bench: Bench, contestant: Contestant, tasks: Sequence[Task], version: str
) -> dict[str, Measured]:
    limit = None if any(task.rows is not None for task in tasks) else bench.config.items
    name = digest(
        "harness", 2, version, fingerprint(contestant.model), [asdict(task) for task in tasks], limit
    )
    file = f"data/harness_{name[:16]}.json"
    answer = read_kept(bench.folder, file, bench.say, lambda kept: _is_whole(kept, tasks))
    if answer is None:
        count = max((len(task.rows) for task in tasks if task.rows is not None), default=limit)
        bench.say(f"lm-eval measures {contestant.name}" + (f" on {count:,} items" if count else ""))
        await bench.close()  # lm-eval loads the model once more: no other may lie beside it
        answer = await _ask(_request(contestant.model, tasks, limit))
        if "error" not in answer:
            write_kept(bench.folder, file, answer)
    if (error := answer.get("error")) is not None:
        raise _explained(error, contestant, tasks)
    return _measured(answer)


def _measured(answer: Row) -> dict[str, Measured]:
    """The worker's answer by task."""
    return {
        name: Measured(**{**found, "items": tuple(found["items"])}) for name, found in answer["tasks"].items()
    }


def _is_whole(kept: Row, tasks: Sequence[Task]) -> bool:
    """Whether a kept answer has every task's figures and items."""
    try:
        found = _measured(kept)
        return all(
            isinstance(found[task.name].figures[metric], int | float | None)
            and all(isinstance(item, dict) for item in found[task.name].items)
            for task in tasks
            for metric in task.metrics
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _request(model: ModelConfig, tasks: Sequence[Task], limit: int | None) -> Row:
    folder, device = model_path(model), "cuda" if has_gpu() else "cpu"
    return {
        "folder": str(folder),
        "dtype": resolve_dtype(model.dtype, folder, has_gpu()),
        "device": device,
        "batch_size": BATCH[device],
        "max_length": model.max_model_len,
        "limit": limit,
        "tasks": [asdict(task) for task in tasks],
    }


async def _ask(request: Row) -> Row:
    """The worker's answer to ``request``; its data and caches live as long as it does."""
    with tempfile.TemporaryDirectory(prefix="cai-harness-") as name:
        home = Path(name)
        for task in request["tasks"]:
            rows = task.pop("rows")
            task["file"] = None if rows is None else str(home / f"{task['name']}.jsonl")
            if rows is not None:
                lines = "".join(json.dumps(row) + "\n" for row in rows)
                Path(task["file"]).write_text(lines, encoding="utf-8")
        (home / "request.json").write_text(json.dumps(request), encoding="utf-8")
        code = await _work(home)
        if not (home / "answer.json").exists():
            log = (home / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise EngineError(f"lm-eval ended with exit code {code}: {log[-1] if log else 'it said nothing'}")
        answer: Row = json.loads((home / "answer.json").read_text(encoding="utf-8"))
        return answer


async def _work(home: Path) -> int:
    """Run the worker to its end; whoever gives up waiting ends it."""
    with (home / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            str(WORKER),
            str(home / "request.json"),
            str(home / "answer.json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _explained(error: Mapping[str, Any], contestant: Contestant, tasks: Sequence[Task]) -> CaiError:
    names = ", ".join(task.name for task in tasks)
    if error["part"] == "data" and all(task.rows is not None for task in tasks):
        return UsageError(f"lm-eval cannot use the data for {names}: {error['reason']}")
    if error["part"] == "data":
        return UsageError(
            f"lm-eval cannot load the data of {names} ({error['reason']}). They come from the hub: check the "
            "network and HF_TOKEN, or give the suite a file of them, --suite NAME=FILE"
        )
    return EngineError(f"lm-eval cannot load {contestant.name} ({contestant.model.name}): {error['reason']}")
