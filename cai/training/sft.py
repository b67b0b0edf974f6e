"""Supervised fine-tuning on revisions (Bai et al. 2022, §3.2), through TRL's SFTTrainer.

    result = train_sft("models/base", [Example(prompt, revision)], SFTConfig(), "checkpoints/sft", seed=0)

Only the tokens of the last response are learned. Run it again after a kill, and it goes on from the newest
whole checkpoint; run it again after the end, and it returns at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cai.config.train_config import SFTConfig
from cai.training.checkpoint import Workspace
from cai.training.examples import Example, encode_examples
from cai.training.result import Progress, Say, TrainResult, Watch, to_stderr
from cai.training.updates.frame import train
from cai.training.updates.method import Method, Training


def train_sft(
    model_path: str | Path,
    examples: Sequence[Example],
    config: SFTConfig,
    out_dir: str | Path,
    seed: int,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    say: Say = to_stderr,
) -> TrainResult:
    """Train ``model_path`` to give the examples' responses; the finished weights are in ``out_dir``.

    Raises:
        TrainingError: no usable row, or a loss that is not finite.
        TrainingStopped: ``should_stop`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise; SystemExit: SIGTERM or SIGHUP.
    """
    training = Training("sft", str(model_path), examples, config, seed)
    return train(training, out_dir, _method, Watch(progress, should_stop, say))


def _method(training: Training, workspace: Workspace) -> Method:
    from trl.trainer.sft_config import SFTConfig as Arguments

    from cai.training.updates.batches import example_columns, sft_batch
    from cai.training.updates.loop import load_language_model, load_tokenizer
    from cai.training.updates.trainers import UpdateSFTTrainer

    return Method(
        tokenizer=load_tokenizer,
        load=load_language_model,
        encode=encode_examples,
        columns=lambda base, rows: example_columns(rows),
        batch=sft_batch,
        trainer=UpdateSFTTrainer,
        arguments=Arguments,
    )
