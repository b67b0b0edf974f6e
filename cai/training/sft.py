"""Supervised fine-tuning on revisions (Bai et al. 2022, §3.2), through TRL's SFTTrainer.

    result = train_sft("models/base", [Example(prompt, revision)], SFTConfig(), "checkpoints/sft", seed=0)

Only the tokens of the last response are learned. Run it again after a kill, and it goes on from the newest
whole checkpoint; run it again after the end, and it returns at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cai.trainconfig import SFTConfig
from cai.training.checkpoint import Workspace, training_key
from cai.training.result import Progress, TrainResult, Watch
from cai.training.rows import Example


def train_sft(
    model_path: str | Path,
    examples: Sequence[Example],
    config: SFTConfig,
    out_dir: str | Path,
    seed: int,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train ``model_path`` to give the examples' responses; the finished weights are in ``out_dir``.

    Raises:
        TrainingError: no usable row, or a loss that is not finite.
        TrainingStopped: ``should_stop`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise.
    """
    from cai.training import quiet

    quiet.before_import()
    model = str(model_path)
    workspace = Workspace(Path(out_dir), training_key("sft", model, examples, config, seed))
    finished = workspace.finished()
    if finished is not None:
        return TrainResult.from_json(workspace.out, finished)
    with quiet.quiet():
        return _train(model, examples, config, workspace, seed=seed, watch=Watch(progress, should_stop))


def _train(
    model: str,
    examples: Sequence[Example],
    config: SFTConfig,
    workspace: Workspace,
    *,
    seed: int,
    watch: Watch,
) -> TrainResult:
    import datasets
    from trl.trainer.sft_config import SFTConfig as SFTArguments

    from cai.training import loop
    from cai.training.batches import Updates, sft_batch
    from cai.training.interrupt import stop_requests
    from cai.training.rows import encode_examples
    from cai.training.schedule import Schedule
    from cai.training.trainers import Job, UpdateSFTTrainer

    tokenizer = loop.load_tokenizer(model)
    encoded = encode_examples(tokenizer, examples, config)
    base = loop.load_base(model, tokenizer, config, encoded.rows)
    schedule = Schedule([row.length for row in encoded.rows], config, seed, base.device.overhead)
    rows = datasets.Dataset.from_dict(
        {
            "prompt_ids": [list(row.prompt) for row in encoded.rows],
            "completion_ids": [list(row.completion) for row in encoded.rows],
            "weight": [row.weight for row in encoded.rows],
        }
    )
    arguments = loop.trainer_arguments(config, base, schedule.total, seed)
    with stop_requests(watch.should_stop) as stop:
        updates = Updates(rows, schedule, sft_batch, base.pad)
        job = Job(config, base.device, updates, workspace, watch.progress, stop)
        trainer = UpdateSFTTrainer(
            job,
            model=base.model,
            args=SFTArguments(output_dir=str(workspace.partial), **arguments),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=loop.peft_config(config.lora),
        )
        return loop.run(trainer, base, encoded)
