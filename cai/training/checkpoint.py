"""What a training leaves on disk, so that a kill at any moment costs at most the work since the last save.

For the finished folder ``checkpoints/sft`` all unfinished work lies beside it in ``checkpoints/sft.partial``:

    step-00000200/   the trainer's own files and ``training.json``: key, step, history, cost, files and sizes
    final/           the finished folder while it is being written
    old/             the former finished folder while it is being replaced

Every folder is written under another name and renamed when it is whole. A folder whose ``training.json``
is missing, bears another key or names files that are not there in full, counts as not there. The *key* is a
hash of everything that determines the weights: examples, settings, seed and the base model's own files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from cai.config.train_config import OptimizerConfig
from cai.training.examples import Example
from cai.training.result import Spent
from cai.values.types import Ranked

RECORD = "training.json"
_VERSION = "1"
_MODEL_FILES = {".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"}
# What the pipeline reads to choose rows is in the rows already; how often to save changes no weights.
_OTHER_SETTINGS = {"save_steps", "helpful_share", "helpful_prompts", "rounds", "held_out"}


def training_key(
    method: str, model: str, items: Sequence[Example | Ranked], config: OptimizerConfig, seed: int
) -> str:
    """The hash of everything that determines the trained weights."""
    settings = config.model_dump(mode="json", exclude=_OTHER_SETTINGS)
    parts = [_VERSION, method, model_fingerprint(model), json.dumps(settings, sort_keys=True), str(seed)]
    digest = hashlib.sha256("\0".join(parts).encode())
    for item in items:
        digest.update(json.dumps(astuple(item), ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def model_fingerprint(model: str) -> str:
    """A hash of the model's files; of its name and commit where it is not a local folder."""
    folder = Path(model)
    if not folder.is_dir():
        from transformers import AutoConfig

        commit = getattr(AutoConfig.from_pretrained(model), "_commit_hash", None)
        return f"{model}@{commit}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _MODEL_FILES and path.name != RECORD:
            with path.open("rb") as file:
                digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def spent_before(record: dict[str, Any]) -> Spent:
    """The cost of a training up to the checkpoint with this record."""
    return Spent(**record.get("spent", {}))


class Workspace:
    """The finished folder ``out`` of one training and the unfinished work beside it."""

    def __init__(self, out: Path, key: str, keep: int = 2):
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        self.key = key
        self._keep = keep

    def finished(self) -> dict[str, Any] | None:
        """The record of this very training where it is finished, else None."""
        final = self.partial / "final"
        if _complete(self.out, self.key) is None and _complete(final, self.key) is not None:
            self._promote(final)
        record = _complete(self.out, self.key)
        return None if record is None else record["result"]

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole checkpoint of this training and its record."""
        for folder in sorted(self.partial.glob("step-*"), reverse=True):
            record = _complete(folder, self.key)
            if record is not None:
                return folder, record
        return None

    def save_step(self, written: Path, step: int, history: Sequence[dict[str, float]], spent: Spent) -> None:
        """Make the trainer's files in ``written`` the checkpoint of ``step``; drop older ones."""
        folder = self.partial / f"step-{step:08d}"
        record = {"key": self.key, "step": step, "history": list(history), "spent": asdict(spent)}
        _seal(written, record)
        shutil.rmtree(folder, ignore_errors=True)
        written.rename(folder)
        self._drop(sorted(self.partial.glob("step-*"))[: -self._keep])

    def publish(self, written: Path, result: dict[str, Any]) -> None:
        """Make ``written`` the finished folder and delete everything unfinished."""
        _seal(written, {"key": self.key, "result": result})
        final = self.partial / "final"
        shutil.rmtree(final, ignore_errors=True)
        written.rename(final)
        self._promote(final)

    def fresh(self, name: str) -> Path:
        """An empty folder in the unfinished work, to write into."""
        folder = self.partial / f"writing-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _promote(self, final: Path) -> None:
        old = self.partial / "old"
        shutil.rmtree(old, ignore_errors=True)
        if self.out.exists():
            self.out.rename(old)
        final.rename(self.out)
        shutil.rmtree(self.partial)

    @staticmethod
    def _drop(folders: Iterable[Path]) -> None:
        for folder in folders:
            # Without its record first: a kill in between leaves no folder that looks whole.
            (folder / RECORD).unlink(missing_ok=True)
            shutil.rmtree(folder)


def _sizes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }


def _seal(folder: Path, record: dict[str, Any]) -> None:
    """Write the record that makes ``folder`` whole, after its files have reached the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    (folder / RECORD).write_text(json.dumps({**record, "files": _sizes(folder)}))


def _complete(folder: Path, key: str) -> dict[str, Any] | None:
    """The record of ``folder`` where it is whole and bears ``key``."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
        whole = record["key"] == key and record["files"].items() <= _sizes(folder).items()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if whole else None
