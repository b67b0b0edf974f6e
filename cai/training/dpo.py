"""Direct preference optimisation with soft labels (Rafailov et al. 2023; Furuta et al. 2024), through TRL.

    result = train_dpo("checkpoints/sft", ranked_pairs, DPOConfig(), "checkpoints/policy", seed=0)

The reference is the model that training starts from. Its log-probabilities are computed once, before
training, so it takes no memory later. Resuming and finding a finished training work as in ``sft.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cai.config.train_config import DPOConfig
from cai.training.checkpoint import Workspace
from cai.training.examples import PairRow, encode_pairs
from cai.training.result import Progress, Say, TrainResult, Watch, to_stderr
from cai.training.updates.frame import train
from cai.training.updates.method import Method, Training
from cai.values.types import Ranked

_LOGPROBS = "logprobs.safetensors"


def train_dpo(
    model_path: str | Path,
    pairs: Sequence[Ranked],
    config: DPOConfig,
    out_dir: str | Path,
    seed: int,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    say: Say = to_stderr,
) -> TrainResult:
    """Train ``model_path`` towards the preferred responses; the finished weights are in ``out_dir``.

    Raises:
        TrainingError: no usable pair, or a loss that is not finite.
        TrainingStopped: ``should_stop`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise; SystemExit: SIGTERM or SIGHUP.
    """
    training = Training("dpo", str(model_path), pairs, config, seed)
    return train(training, out_dir, _method, Watch(progress, should_stop, say))


def _method(training: Training, workspace: Workspace) -> Method:
    from trl.trainer.dpo_config import DPOConfig as Arguments

    from cai.training.updates.batches import pair_batch, pair_columns
    from cai.training.updates.loop import load_language_model, load_tokenizer
    from cai.training.updates.trainers import SoftDPOTrainer

    config = training.config
    assert isinstance(config, DPOConfig)

    def columns(base: Any, rows: Sequence[PairRow]) -> dict[str, list[Any]]:
        return {**pair_columns(rows), **_reference(base, rows, config, workspace)}

    return Method(
        tokenizer=load_tokenizer,
        load=load_language_model,
        encode=encode_pairs,
        columns=columns,
        batch=pair_batch,
        trainer=SoftDPOTrainer,
        arguments=Arguments,
        # With log-probabilities said to be there already, TRL loads no reference.
        settings={"beta": config.beta, "precompute_ref_log_probs": True},
        sequences=2,
    )


def _reference(
    base: Any, rows: Sequence[PairRow], config: DPOConfig, workspace: Workspace
) -> dict[str, list[float]]:
    """The reference's log-probabilities as columns; kept beside the checkpoints for a resumed training."""
    from safetensors.torch import load_file, save_file

    from cai.training.updates.scoring import reference_logprobs

    folder = workspace.kept("reference")
    if folder is None:
        size = 2 * config.micro_batch_size  # without gradients twice the rows take less memory
        chosen, rejected = reference_logprobs(base.model, rows, base.pad, base.device, size)
        written = workspace.fresh("reference")
        save_file({"chosen": chosen, "rejected": rejected}, written / _LOGPROBS)
        folder = workspace.keep(written, "reference")
    found = load_file(folder / _LOGPROBS)
    return {name: found[name.split("_")[1]].tolist() for name in ("ref_chosen_logps", "ref_rejected_logps")}
