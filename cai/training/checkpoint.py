"""What a training leaves on disk, so that a kill at any moment costs at most the work since the last save.

For the finished folder ``checkpoints/sft`` all unfinished work lies beside it in ``checkpoints/sft.partial``:

    step-00000200/     the trainer's own files and ``training.json``: key, step, history, cost, files' hashes
    reference-<key>/   what a training computes once, such as DPO's reference; likewise
    rollouts-<key>/    the responses of every step, in files that name the training (``rl/rollouts.py``)
    final/             the finished folder while it is being written
    old/               the former finished folder while it is being replaced

Every folder is written under another name, synced and renamed when it is whole. A folder whose
``training.json`` cannot be read, bears another key or names files that are not there bit by bit, counts as
not there. The *key* is a hash of everything that determines the weights: examples, settings, seed and the
base model's own files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from cai.config.train_config import OptimizerConfig, named_settings
from cai.run.sealed import RECORD, damage, file_hash, read_record, require_whole, seal, sync
from cai.training.examples import Example
from cai.training.result import Say, Spent, TrainResult, checked_history, to_stderr
from cai.values.errors import TrainingError
from cai.values.types import Ranked

# Counted up where the same examples are learned in another way.
_VERSION = "1"
_VERSIONS = {"reward": "2"}  # 2: rows end where the template ends
_PARTS = ("reference", "rollouts")
_MODEL_FILES = {
    *(".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"),
    *(".tiktoken", ".tokenizer", ".codes", ".bpe", ".vocab"),
    ".spm",
}
# What the pipeline reads to choose rows is in the rows already; how often to save changes no weights.
_OTHER_SETTINGS = {"save_steps", "save_minutes", "helpful_share", "helpful_prompts", "rounds", "held_out"}


def training_key(
    method: str, model: str, items: Sequence[Example | Ranked], config: OptimizerConfig, seed: int
) -> str:
    """The hash of everything that determines the trained weights."""
    settings = named_settings(config, _OTHER_SETTINGS)
    parts = [
        _VERSIONS.get(method, _VERSION),
        method,
        model_fingerprint(model),
        json.dumps(settings, sort_keys=True),
        str(seed),
    ]
    digest = hashlib.sha256("\0".join(parts).encode())
    for item in items:
        digest.update(json.dumps(astuple(item), ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def model_fingerprint(model: str) -> str:
    """A hash of the model's files; of its name and commit where it is not a local folder.

    Raises:
        CaiError: the folder is a checkpoint of ours, and damaged; or there is no such model.
    """
    folder = Path(model)
    if not folder.is_dir():
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        except Exception as error:  # no such folder, no network, a kind of model that is not known …
            raise TrainingError(f"the model {model} cannot be had: {error}") from error
        return f"{model}@{getattr(config, '_commit_hash', None)}"
    require_whole(folder)
    digest = hashlib.sha256()
    for path in [*sorted(folder.iterdir()), *sorted(folder.glob("additional_chat_templates/*"))]:
        if path.suffix in _MODEL_FILES and path.name != RECORD:
            digest.update(f"{path.name}\0{file_hash(path)}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Saved:
    """A whole checkpoint of an unfinished training, and what the training had done by then."""

    folder: Path
    step: int
    history: tuple[dict[str, float], ...]
    spent: Spent


class Workspace:
    """The finished folder ``out`` of one training and the unfinished work beside it.

    ``say`` is told in one line what is damaged and hence made again.
    """

    def __init__(self, out: Path, key: str, say: Say = to_stderr, keep: int = 2):
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        self.key = key
        self.say = say
        self._keep = keep

    def finished(self) -> TrainResult | None:
        """The result of this very training where it is finished and whole, else None."""
        final = self.partial / "final"
        result, wrong = self._finished(self.out)
        if result is None and self._finished(final)[0] is not None:
            self._promote(final)
            return self._finished(self.out)[0]
        if self.out.is_dir() and not (self.out / RECORD).exists():
            wrong = f"{RECORD} is missing"
        if wrong:
            self.say(f"{self.out} is damaged: {wrong}; it is made again")
        return result

    def newest(self, at_most: int | None = None) -> Saved | None:
        """The newest whole checkpoint of this training, after ``at_most`` steps."""
        for folder in sorted(self.partial.glob("step-*"), reverse=True):
            record, wrong = self._whole(folder)
            saved = None
            if record is not None:
                saved, wrong = _saved(folder, record)
            if wrong:
                self.say(f"{folder} is damaged: {wrong}; an older checkpoint is taken, or none")
            if saved is not None and (at_most is None or saved.step <= at_most):
                return saved
        return None

    def save_step(self, written: Path, step: int, history: Sequence[dict[str, float]], spent: Spent) -> None:
        """Make the trainer's files in ``written`` the checkpoint of ``step``; drop what is no longer needed.

        That is all but the newest of this training, and from now on what another training has left here.
        """
        record = {"key": self.key, "step": step, "history": list(history), "spent": asdict(spent)}
        name = f"step-{step:08d}"
        self._put(written, name, record)
        folders = sorted(self.partial.glob("step-*"))
        foreign = [f for f in folders if self._whole(f, contents=False)[0] is None]
        mine = [f for f in folders if f not in foreign and f.name <= name]
        others = [f for part in _PARTS for f in self.partial.glob(f"{part}-*/") if f != self.mine(part)]
        self._drop([f for f in folders if f not in mine[-self._keep :]] + others)
        if others or foreign:
            self.say(f"{self.partial}: unfinished work of a training with other inputs is removed")

    def kept(self, name: str) -> Path | None:
        """The folder that ``keep`` put away under ``name``, where it is whole."""
        folder = self.mine(name)
        record, wrong = self._whole(folder)
        if wrong:
            self.say(f"{folder} is damaged: {wrong}; it is made again")
        return None if record is None else folder

    def keep(self, written: Path, name: str) -> Path:
        """Put the files in ``written`` away for this training, until it is published."""
        return self._put(written, self.mine(name).name, {"key": self.key})

    def mine(self, name: str) -> Path:
        """Where this training alone has its ``name`` (``reference`` or ``rollouts``)."""
        return self.partial / f"{name}-{self.key[:16]}"

    def publish(self, written: Path, result: dict[str, Any]) -> None:
        """Make ``written`` the finished folder and delete everything unfinished."""
        self._promote(self._put(written, "final", {"key": self.key, "result": result}))

    def fresh(self, name: str) -> Path:
        """An empty folder in the unfinished work, to write into."""
        folder = self.partial / f"writing-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _put(self, written: Path, name: str, record: dict[str, Any]) -> Path:
        seal(written, record)
        folder = self.partial / name
        shutil.rmtree(folder, ignore_errors=True)
        written.rename(folder)
        sync(self.partial)
        return folder

    def _promote(self, final: Path) -> None:
        old = self.partial / "old"
        shutil.rmtree(old, ignore_errors=True)
        if self.out.exists():
            self.out.rename(old)
        final.rename(self.out)
        sync(self.out.parent)
        shutil.rmtree(self.partial)

    def _finished(self, folder: Path) -> tuple[TrainResult | None, str]:
        """This training's result in ``folder``, or what is wrong with it; "" where it is another's."""
        record, wrong = self._whole(folder)
        if record is None:
            return None, wrong
        try:
            return TrainResult.from_json(folder, record["result"]), ""
        except (KeyError, TypeError, ValueError, AttributeError):
            return None, f"{RECORD} holds no result"

    def _whole(self, folder: Path, *, contents: bool = True) -> tuple[dict[str, Any] | None, str]:
        """The record of ``folder`` where it is whole and this training's, or what is wrong with it."""
        if not (folder / RECORD).exists():
            return None, ""
        record = read_record(folder)
        if record is None:
            return None, f"{RECORD} cannot be read"
        if record.get("key") != self.key:
            return None, ""
        wrong = damage(folder, record) if contents else ""
        return (None, wrong) if wrong else (record, "")

    @staticmethod
    def _drop(folders: Iterable[Path]) -> None:
        for folder in folders:
            # Without its record first: a kill in between leaves no folder that looks whole.
            (folder / RECORD).unlink(missing_ok=True)
            shutil.rmtree(folder)


def _saved(folder: Path, record: dict[str, Any]) -> tuple[Saved | None, str]:
    """The checkpoint that ``record`` tells of, or what is wrong with it."""
    try:
        spent = Spent(**record.get("spent", {}))
        return Saved(folder, int(record["step"]), checked_history(record["history"]), spent), ""
    except (KeyError, TypeError, ValueError):
        return None, f"{RECORD} does not say what was done"
