"""Direct preference optimisation with soft labels (Rafailov et al. 2023; Furuta et al. 2024), through TRL.

    result = train_dpo("checkpoints/sft", ranked_pairs, DPOConfig(), "checkpoints/policy", seed=0)

The reference is the model that training starts from. Its log-probabilities are computed once, before
training, so it takes no memory later. Resuming and finding a finished training work as in ``sft.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cai.trainconfig import DPOConfig
from cai.training.checkpoint import Workspace, training_key
from cai.training.result import Progress, TrainResult, Watch
from cai.training.rows import PairRow
from cai.types import Ranked


def train_dpo(
    model_path: str | Path,
    pairs: Sequence[Ranked],
    config: DPOConfig,
    out_dir: str | Path,
    seed: int,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train ``model_path`` towards the preferred responses; the finished weights are in ``out_dir``.

    Raises:
        TrainingError: no usable pair, or a loss that is not finite.
        TrainingStopped: ``should_stop`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise.
    """
    from cai.training import quiet

    quiet.before_import()
    model = str(model_path)
    workspace = Workspace(Path(out_dir), training_key("dpo", model, pairs, config, seed))
    finished = workspace.finished()
    if finished is not None:
        return TrainResult.from_json(workspace.out, finished)
    with quiet.quiet():
        return _train(model, pairs, config, workspace, seed=seed, watch=Watch(progress, should_stop))


def _train(
    model: str,
    pairs: Sequence[Ranked],
    config: DPOConfig,
    workspace: Workspace,
    *,
    seed: int,
    watch: Watch,
) -> TrainResult:
    import datasets
    from trl.trainer.dpo_config import DPOConfig as DPOArguments

    from cai.training import loop
    from cai.training.batches import Updates, pair_batch
    from cai.training.interrupt import stop_requests
    from cai.training.rows import encode_pairs
    from cai.training.schedule import Schedule
    from cai.training.scoring import pair_columns
    from cai.training.trainers import Job, SoftDPOTrainer

    tokenizer = loop.load_tokenizer(model)
    encoded = encode_pairs(tokenizer, pairs, config)
    base = loop.load_base(model, tokenizer, config, encoded.rows)
    # A row is two sequences, so a forward pass costs half as much per sequence.
    schedule = Schedule([row.length for row in encoded.rows], config, seed, base.device.overhead / 2)
    started = time.monotonic()
    reference = _reference(base, encoded.rows, config, workspace)
    rows = datasets.Dataset.from_dict({**pair_columns(encoded.rows), **reference})
    arguments = loop.trainer_arguments(config, base, schedule.total, seed)
    arguments |= {"beta": config.beta, "precompute_ref_log_probs": True}  # so that TRL loads no reference
    with stop_requests(watch.should_stop) as stop:
        updates = Updates(rows, schedule, pair_batch, base.pad)
        job = Job(config, base.device, updates, workspace, watch.progress, stop, started=started)
        trainer = SoftDPOTrainer(
            job,
            model=base.model,
            args=DPOArguments(output_dir=str(workspace.partial), **arguments),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=loop.peft_config(config.lora),
        )
        return loop.run(trainer, base, encoded)


def _reference(
    base: Any, rows: Sequence[PairRow], config: DPOConfig, workspace: Workspace
) -> dict[str, list[float]]:
    """The reference's log-probabilities as columns; kept beside the checkpoints for a resumed training."""
    from safetensors.torch import load_file, save_file

    from cai.training.scoring import reference_logprobs

    path = workspace.partial / f"reference-{workspace.key[:16]}.safetensors"
    if path.exists():
        found = load_file(path)
        chosen, rejected = found["chosen"], found["rejected"]
    else:
        size = 2 * config.micro_batch_size  # without gradients twice the rows take less memory
        chosen, rejected = reference_logprobs(base.model, rows, base.pad, base.device, size)
        path.parent.mkdir(parents=True, exist_ok=True)
        writing = path.with_suffix(".writing")
        save_file({"chosen": chosen, "rejected": rejected}, writing)
        writing.rename(path)
    return {"ref_chosen_logps": chosen.tolist(), "ref_rejected_logps": rejected.tolist()}
