"""What every step's output was made from: RUN/origins.json. Whoever shows an output asks here first.

    {"wanted": {step: {input: value}}, "made": {step: {"own": {input: value}, "read": {step: outcome}, ...}}}

An *input* is a setting (``dpo.beta``) or a hash of what lies outside the run (``#prompts``).
``wanted`` is what the last command asked for. A step is *current* when it was made from what is wanted now,
and every step that it read is current and still has the outcome that was read. What is not current belongs to
an earlier run: it is made again, dropped, or shown as such.

A table that holds something else than its step wrote is *edited*. What was made from it before is not
current, what is made from it now is; its step's own figures are of what it wrote.

What each step depends on is stated in ``pipeline/lineage.py``. A folder without the file, or with one that
cannot be read, has nothing that is known to be current or stale: the next ``cai run`` makes its steps again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cai.run.folder import RunFolder
from cai.run.sealed import file_hash

FILE = "origins.json"
Inputs = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a step leaves: tables of ``data/``, a checkpoint, prefixes of metrics, names in failures.jsonl."""

    tables: tuple[str, ...] = ()
    checkpoint: str | None = None
    metrics: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """A step that was finished: its own inputs, the outcomes of the steps that it read, and its outcome."""

    own: Inputs
    read: Inputs
    outcome: str
    outputs: Outputs


@dataclass(frozen=True)
class Origins:
    """What is wanted, and what was made from what."""

    wanted: Mapping[str, Inputs] = field(default_factory=dict)
    made: Mapping[str, Made] = field(default_factory=dict)
    #: Step → the outcome that its files show, where that is not the one that was booked.
    edited: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def stale(self) -> frozenset[str]:
        """The steps whose outputs are of an earlier run, or were changed since."""
        return self.unmade | (self.edited.keys() & self.made.keys())

    @cached_property
    def unmade(self) -> frozenset[str]:
        """The steps that were made from something else than what is wanted, or than what is there now."""
        current: dict[str, bool] = {}

        def is_current(step: str) -> bool:
            if step not in current:
                current[step] = False  # a circle is nothing that was made in order
                made = self.made.get(step)
                current[step] = (
                    made is not None
                    and dict(made.own) == dict(self.wanted.get(step, {}))
                    and all(
                        is_current(other) and self.outcome(other) == outcome
                        for other, outcome in made.read.items()
                    )
                )
            return current[step]

        return frozenset(step for step in self.made if not is_current(step))

    def outcome(self, step: str) -> str:
        """What the files of a step that was made show now."""
        return self.edited.get(step, self.made[step].outcome)

    def reasons(self, steps: Iterable[str]) -> list[str]:
        """What differs, in words such as ``dpo.beta 0.1→0.5``; each difference once, hashes as "changed".

        Of a step whose own inputs are the same: which of the steps that it read has another outcome.
        """
        found: dict[str, None] = {}
        for step in steps:
            wanted, own = self.wanted.get(step), self.made[step].own
            if own == UNKNOWN:
                found[f"{FILE} does not say what {step} was made from"] = None
                continue
            if wanted is None:
                found[f"{step} is no step of this method"] = None
                continue
            for name in sorted({*wanted, *own}):
                if wanted.get(name) != own.get(name):
                    found[_difference(name, own.get(name), wanted.get(name))] = None
            if step in self.edited:
                found[self.told_edited(step)] = None
            for other, outcome in self.made[step].read.items():
                if other not in self.made:
                    found[f"what {other} made is gone"] = None
                elif other not in self.edited and self.made[other].outcome != outcome:
                    found[f"{other} has another outcome"] = None
        return list(found)

    def contradicted(self, settings: Mapping[str, str]) -> list[str]:
        """Where ``settings`` are not those that the last command asked for, as ``reasons`` words it."""
        return list(
            dict.fromkeys(
                _difference(name, value, settings[name])
                for own in self.wanted.values()
                for name, value in sorted(own.items())
                if settings.get(name, value) != value
            )
        )

    def told_edited(self, step: str) -> str:
        """``data/mixture.parquet is not what mix wrote``"""
        outputs = self.made[step].outputs
        files = [f"data/{name}.parquet" for name in outputs.tables]
        files += [f"checkpoints/{outputs.checkpoint}"] if outputs.checkpoint is not None else []
        return f"{' or '.join(files)} is not what {step} wrote"

    def outputs(self, steps: Iterable[str]) -> Outputs:
        """What these steps have left, together."""
        every = [self.made[step].outputs for step in steps if step in self.made]
        return Outputs(
            tables=tuple(t for one in every for t in one.tables),
            metrics=tuple(m for one in every for m in one.metrics),
            failures=tuple(f for one in every for f in one.failures),
        )

    def stale_tables(self) -> frozenset[str]:
        return frozenset(self.outputs(self.stale).tables)

    def stale_checkpoints(self) -> frozenset[str]:
        return frozenset(c for step in self.stale if (c := self.made[step].outputs.checkpoint) is not None)


def _difference(name: str, before: str | None, after: str | None) -> str:
    if name.startswith(HASHED):
        return f"{name.removeprefix(HASHED)} changed"
    return f"{name} {before if before is not None else 'unset'}→{after if after is not None else 'unset'}"


FORMERLY = (".sampler",)  # ends of inputs that an earlier cai booked, and that change nothing
UNKNOWN: Inputs = {"origin": "unknown"}  # of an output that lies there without an entry
HASHED = "#"  # before the name of an input whose value is a hash


def has_table(folder: RunFolder, name: str) -> bool:
    """Is the table there, and not of an earlier run?"""
    return folder.table(name).exists() and name not in read_origins(folder).stale_tables()


def has_checkpoint(folder: RunFolder, name: str) -> bool:
    """Is the checkpoint there, and not of an earlier run?"""
    return folder.checkpoint(name).is_dir() and name not in read_origins(folder).stale_checkpoints()


def read_origins(folder: RunFolder) -> Origins:
    """What origins.json says, and which files say otherwise; nothing where it cannot be read."""
    try:
        data = json.loads((folder.path / FILE).read_text(encoding="utf-8"))
        made = {step: _made(entry) for step, entry in data["made"].items()}
        wanted = {step: _inputs(own) for step, own in data["wanted"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Origins()
    shown = {step: _shown(folder, one) for step, one in made.items()}
    return Origins(wanted, made, {step: now for step, now in shown.items() if now != made[step].outcome})


def _shown(folder: RunFolder, made: Made) -> str:
    """The outcome that the step's files show; the one that was booked where that cannot be told.

    A checkpoint that is gone is no edit, but space saved: whoever needs it says so, or makes it again.
    """
    if made.outputs.checkpoint is not None and not folder.checkpoint(made.outputs.checkpoint).exists():
        return made.outcome
    try:
        return outcome(folder, made.outputs, made.own, made.read)
    except _OtherWriter:
        return made.outcome


def write_origins(folder: RunFolder, origins: Origins) -> None:
    made = {step: asdict(entry) for step, entry in sorted(origins.made.items())}
    wanted = {step: dict(own) for step, own in sorted(origins.wanted.items())}
    folder.write_text(FILE, json.dumps({"wanted": wanted, "made": made}, indent=1) + "\n")


def record_made(folder: RunFolder, step: str, own: Inputs, read: Iterable[str], outputs: Outputs) -> None:
    """Book that ``step`` is finished. Whoever made the same checkpoint before has made nothing any more."""
    before = read_origins(folder)
    known = {other: before.outcome(other) for other in read if other in before.made}
    entry = Made(own, known, outcome(folder, outputs, own, known), outputs)
    rest = {
        other: made
        for other, made in before.made.items()
        if outputs.checkpoint is None or made.outputs.checkpoint != outputs.checkpoint
    }
    write_origins(folder, Origins({**before.wanted, step: own}, {**rest, step: entry}))


def outcome(folder: RunFolder, outputs: Outputs, own: Inputs, read: Inputs) -> str:
    """A hash of the step's tables and of what its checkpoint was trained from.

    Of a step that leaves figures alone, or no table this time, of what it was made from instead.
    """
    found = hashlib.sha256()
    paths = [folder.table(name) for name in outputs.tables]
    if outputs.checkpoint is None and not any(path.exists() for path in paths):
        return hashlib.sha256(json.dumps([dict(own), dict(read)], sort_keys=True).encode()).hexdigest()
    if outputs.checkpoint is not None:
        paths.append(folder.checkpoint(outputs.checkpoint) / "training.json")
    for path in paths:
        found.update(f"{path.name}\0{_hash(path)}\0".encode())
    return found.hexdigest()


def _hash(path: Path) -> str:
    """What the file says, where it is a training's record: its key; seconds and the like are no outcome."""
    try:
        if path.suffix == ".json":
            return str(json.loads(path.read_text(encoding="utf-8"))["key"])
        return _ungraded(path, file_hash(path)) if path.name.startswith("eval_") else file_hash(path)
    except (OSError, ValueError, KeyError, TypeError):
        return "-"


@cache
def _ungraded(path: Path, content: str) -> str:
    """The hash that a table of answers had before grades joined it, as columns ``<suite>/<metric>``.

    ``content`` is the hash that it has now. Equal tables are equal bytes (``run/folder.py``).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    grades = [name for name in pq.read_schema(path).names if "/" in name]
    if not grades:
        return content
    rows = pq.read_table(path).drop_columns(grades).to_pylist()
    written = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), written, compression="zstd")
    if pq.read_metadata(pa.BufferReader(written.getvalue())).created_by != pq.read_metadata(path).created_by:
        raise _OtherWriter
    return hashlib.sha256(written.getvalue()).hexdigest()


class _OtherWriter(Exception):
    """The table was written by another version of the library, whose bytes for equal rows may differ."""


def _inputs(value: Any) -> dict[str, str]:
    return {str(name): str(own) for name, own in value.items() if not name.endswith(FORMERLY)}


def _made(entry: Any) -> Made:
    outputs = entry["outputs"]
    return Made(
        _inputs(entry["own"]),
        _inputs(entry["read"]),
        str(entry["outcome"]),
        Outputs(
            tuple(outputs["tables"]),
            outputs["checkpoint"],
            tuple(outputs["metrics"]),
            tuple(outputs["failures"]),
        ),
    )
