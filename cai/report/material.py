"""What a run folder holds, read as far as it can be read.

A report must come out of a run that was broken off or damaged, too: whatever cannot be read becomes a line of
``notes``, and whatever is not there is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cai.config.settings import flattened
from cai.config.yamlfile import read_yaml
from cai.constitution.load import Constitution, load_constitution
from cai.data import tables
from cai.run.folder import RunFolder
from cai.run.origin import HASHED, Origins, has_table, read_origins
from cai.run.sealed import file_hash
from cai.values.errors import CaiError, UsageError
from cai.values.types import Failure, Preference, Prompt, Score, Transcript
from cai.values.words import visible

T = TypeVar("T")
KNOWN = ("base", "sft", "best-of-n", "policy")  # in the order of a run; other models stand behind them
TABLES = ("reliability", "overoptimisation", "monitors")
CHECKPOINTS = ("sft", "reward", "policy")
_BOOKKEEPING = {"prompt_id", "prompt", "tags", "index", "response", "finish"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to a held-out prompt; ``values`` are per-prompt figures, where the table has any."""

    prompt: Prompt
    text: str
    finish: str = "stop"
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Material:
    """``answers`` by model, ``training`` by checkpoint (its training.json), ``tables`` as raw rows."""

    folder: RunFolder
    name: str
    config: dict[str, Any]
    config_text: str
    constitution: Constitution | None
    constitution_text: str
    manifest: dict[str, Any]
    metrics: dict[str, Score]
    failures: list[Failure]
    transcripts: list[Transcript]
    preferences: list[Preference]
    answers: dict[str, list[Answer]]
    tables: dict[str, list[dict[str, Any]]]
    training: dict[str, dict[str, Any]]
    suites: dict[str, Any]  # suites.json: who graded, on what data, and notes, by suite
    round: int  # whose policy this is, the first being 1
    notes: tuple[str, ...]

    @property
    def measured_only(self) -> bool:
        """Whether nothing was trained in this folder: models were brought here to be measured."""
        return bool(self.suites) and not (self.transcripts or self.preferences or self.answers)

    def about(self, suite: str) -> str:
        """Who graded a suite, and its notes."""
        entry = _mapping(self.suites.get(suite))
        judge = entry.get("judge")
        told = [f"graded by {judge}", *entry.get("notes", [])] if judge else [*entry.get("notes", [])]
        data = Path(str(entry.get("data")))
        if entry.get("sha256") and data.is_file() and file_hash(data) != entry["sha256"]:
            told.append(f"of an earlier {data}: the file has been changed since")
        return visible("; ".join(map(str, told)))

    def setting(self, *path: str) -> Any:
        """A setting such as ``setting("model", "name")``; None where config.yaml has none."""
        value: Any = self.config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_material(path: Path) -> Material:
    """Everything that a report of the run at ``path`` can show.

    Raises:
        UsageError: there is no such folder, or nothing in it is a run's.
    """
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder; name a run folder, e.g. runs/latest")
    if not any((path / name).exists() for name in ("config.yaml", "metrics.json", "data")):
        raise UsageError(f"{path}: not a run folder (no config.yaml, no data); cai run makes one")
    folder, reader = RunFolder(path), _Reader(path)
    constitution = None
    if (path / "constitution.yaml").exists():
        constitution = reader.attempt(
            "constitution.yaml", lambda: load_constitution(path / "constitution.yaml"), None
        )
    config = _mapping(reader.attempt("config.yaml", lambda: _yaml(path / "config.yaml"), {}))
    reader.compare_inputs(config, constitution)
    material = Material(
        folder=folder,
        name=path.resolve().name,
        config=config,
        config_text=reader.text("config.yaml"),
        constitution=constitution,
        constitution_text=reader.text("constitution.yaml"),
        manifest=_mapping(reader.attempt("manifest.json", lambda: _json(path / "manifest.json"), {})),
        metrics=reader.attempt("metrics.json", folder.read_metrics, {}),
        failures=reader.attempt("failures.jsonl", folder.read_failures, []),
        transcripts=reader.table(folder, "transcripts", tables.transcript_from),
        preferences=reader.table(folder, "preferences", tables.preference_from),
        answers=_answers(folder, reader),
        tables={name: reader.table(folder, name, dict) for name in TABLES},
        training=_training(folder, reader),
        suites=_mapping(reader.attempt("suites.json", lambda: _json(path / "suites.json"), {})),
        round=1,
        notes=(),
    )
    newest = _newest(material, reader)
    return replace(newest, notes=tuple(reader.notes))


def _newest(material: Material, reader: _Reader) -> Material:
    """Of a run of several rounds, the policy is that of the last one; base and SFT model are the first's."""
    alone: tuple[RunFolder, ...] = (material.folder,)
    rounds = reader.attempt("rounds.json", material.folder.rounds, alone)
    last = RunFolder(rounds[-1].path)
    if len(rounds) < 2 or not last.path.is_dir():
        return material

    def policies(metrics: dict[str, Score]) -> dict[str, Score]:
        return {key: s for key, s in metrics.items() if key.startswith("eval/") and key.endswith("/policy")}

    name = f"{last.path.name}/metrics.json"
    found = policies(reader.attempt(name, last.read_metrics, {}))
    own = reader.table(last, "eval_policy", answer_from)
    if not found and not own:
        reader.notes.append(f"round {len(rounds)} has not been evaluated: shown is round 1's policy")
        return material
    metrics = {k: s for k, s in material.metrics.items() if k not in policies(material.metrics)}
    answers = {**material.answers, "policy": own}
    return replace(material, metrics=metrics | found, answers=answers, round=len(rounds))


class _Reader:
    """Reads, and keeps as notes what could not be read or is of an earlier run, and so not shown."""

    def __init__(self, path: Path):
        self.path = path
        self.notes: list[str] = []
        origins = read_origins(RunFolder(path))
        self.origins = origins
        self.stale_checkpoints = origins.stale_checkpoints()
        if origins.stale:
            self.notes.append(_told(origins))

    def compare_inputs(self, config: dict[str, Any], constitution: Constitution | None) -> None:
        """Note where the copies of what was asked for say something else than was asked for."""
        said = flattened(config)
        if constitution is not None:
            said |= {f"{HASHED}constitution": constitution.fingerprint}
        if edited := self.origins.contradicted(said):
            self.notes.append(
                "config.yaml or constitution.yaml of the folder was edited since; what is shown was not made "
                f"by what they say now: {', '.join(edited[:6])}"
            )

    def attempt(self, name: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (CaiError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = str(error).replace(f"{self.path}/", "").removeprefix(f"{name}: ")
            self.notes.append(f"{name} is left out: {reason}")
            return otherwise

    def table(self, folder: RunFolder, name: str, build: Callable[[dict[str, Any]], T]) -> list[T]:
        if not has_table(folder, name):
            return []
        return self.attempt(f"data/{name}.parquet", lambda: folder.read_table(name, build), [])

    def text(self, name: str) -> str:
        file = self.path / name
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _told(origins: Origins) -> str:
    reasons = origins.reasons(sorted(origins.stale))
    why = f" ({', '.join(reasons[:6])})" if reasons else ""
    steps = ", ".join(sorted(origins.stale))
    return f"of an earlier run and not shown: what {steps} made{why}. cai run makes it again"


def _answers(folder: RunFolder, reader: _Reader) -> dict[str, list[Answer]]:
    found = [path.stem.removeprefix("eval_") for path in (folder.path / "data").glob("eval_*.parquet")]
    answers = {name: reader.table(folder, f"eval_{name}", answer_from) for name in in_order(found)}
    return {name: rows for name, rows in answers.items() if rows}


def answer_from(row: dict[str, Any]) -> Answer:
    """Numbers and truth values in columns of their own are figures of the metric of that name."""
    values = {
        name: float(value)
        for name, value in row.items()
        if name not in _BOOKKEEPING and isinstance(value, bool | int | float)
    }
    return Answer(tables.prompt_from(row), row["response"], row.get("finish") or "stop", values)


def in_order(models: Iterable[str]) -> list[str]:
    """Base, SFT, best-of-n, policy, then the others by name."""
    names = set(models)
    return [name for name in KNOWN if name in names] + sorted(names - set(KNOWN))


def _training(folder: RunFolder, reader: _Reader) -> dict[str, dict[str, Any]]:
    found = {}
    for name in CHECKPOINTS:
        file = folder.checkpoint(name) / "training.json"
        if file.is_file() and name not in reader.stale_checkpoints:
            label = f"checkpoints/{name}/training.json"
            found[name] = _mapping(reader.attempt(label, partial(_result, file), {}))
    return {name: result for name, result in found.items() if result}


def _result(file: Path) -> Any:
    return _json(file)["result"]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _yaml(path: Path) -> Any:
    return read_yaml(path).data if path.exists() else {}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
