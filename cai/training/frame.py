"""The frame of every training with TRL: find it finished, or do it quietly. Loads no torch itself.

``sft.py``, ``dpo.py`` and ``reward.py`` each hold a ``Method``: what differs between them. What they share
once torch is loaded is ``loop.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai.trainconfig import OptimizerConfig
from cai.training.checkpoint import Workspace, training_key
from cai.training.result import TrainResult, Watch
from cai.training.rows import Encoded


@dataclass(frozen=True, slots=True)
class Training:
    """A training that was asked for: what determines the weights."""

    method: str
    model: str
    items: Sequence[Any]
    config: OptimizerConfig
    seed: int


@dataclass(frozen=True, slots=True)
class Method:
    """One way of training.

    ``tokenizer(path)`` and ``load(path)`` give the tokenizer and the model in float32, ``encode(tokenizer,
    items, config)`` the rows, ``columns(base, rows)`` the trainer's dataset and ``batch(columns, pad)`` a
    micro-batch of it. ``trainer`` and ``arguments`` are the trainer's class and TRL's settings class, which
    is also given ``settings``. A row is ``sequences`` sequences. ``lora`` completes the adapter's settings.
    ``finish(model, base, rows)`` has the last word on the model, merged and in the precision of its files.
    """

    tokenizer: Callable[[str], Any]
    load: Callable[[str], Any]
    encode: Callable[[Any, Sequence[Any], Any], Encoded[Any]]
    columns: Callable[[Any, Sequence[Any]], dict[str, list[Any]]]
    batch: Callable[[dict[str, list[Any]], int], Any]
    trainer: Callable[..., Any]
    arguments: Callable[..., Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    sequences: int = 1
    lora: Mapping[str, Any] = field(default_factory=lambda: {"task_type": "CAUSAL_LM"})
    finish: Callable[[Any, Any, Sequence[Any]], None] = lambda model, base, rows: None


def train(
    training: Training,
    out_dir: str | Path,
    method: Callable[[Training, Workspace], Method],
    watch: Watch,
) -> TrainResult:
    """The finished training in ``out_dir``; done now unless it lies there already.

    ``method`` is asked only where there is something to do, since its libraries load slowly.

    Raises:
        TrainingError: no usable row, or a loss that is not finite.
        TrainingStopped: ``watch`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise.
    """
    from cai.training import quiet

    quiet.before_import()
    key = training_key(training.method, training.model, training.items, training.config, training.seed)
    workspace = Workspace(Path(out_dir), key)
    finished = workspace.finished()
    if finished is not None:
        return TrainResult.from_json(workspace.out, finished)
    with quiet.quiet():
        from cai.training import loop

        return loop.train(training, method(training, workspace), workspace, watch)
