"""TRL's trainers, fed with whole updates and taught soft labels. Importing this loads TRL (16 to 20 s).

What is TRL's and transformers': model preparation, LoRA, optimizer, clipping, the loop, the state that a
checkpoint holds. What differs, and why:

* An item of the data loader is a whole update (a list of micro-batches, ``batches.Updates``), so that every
  update's loss is a mean over all of its tokens or rows, however it is cut into micro-batches.
* ``compute_loss`` takes plain logits at completion positions alone. TRL's own projects every position and
  computes entropy, top-1 accuracy and mean logits at each step, which costs more than the loss itself.
* A checkpoint is written under another name and renamed when whole (TRL writes in place).
* A loss or gradient that is not finite stops the training instead of spoiling the weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_trainer import SFTTrainer

from cai.config.train_config import DPOConfig, OptimizerConfig, RewardModelConfig
from cai.rewards.model import end_rewards
from cai.training.checkpoint import Workspace
from cai.training.device import Device
from cai.training.result import NOTHING, Progress, Spent
from cai.training.save_clock import SaveClock
from cai.training.updates.batches import Batch, Updates
from cai.training.updates.losses import PREFERENCE_LOSSES, dpo_logits, weighted_mean
from cai.training.updates.schedule import learning_rate_factor
from cai.training.updates.scoring import completion_logprobs
from cai.values.errors import TrainingError


@dataclass
class Job:
    """What the trainers below need to know beyond TRL's own arguments, and what they have done so far.

    ``started`` is set before DPO's pass over the reference, so that tokens per second count it.
    """

    config: OptimizerConfig
    device: Device
    updates: Updates
    workspace: Workspace
    progress: Progress | None = None
    should_stop: Callable[[], bool] = lambda: False
    history: list[dict[str, float]] = field(default_factory=list)
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)
    earlier: Spent = NOTHING  # by the processes that this one goes on from
    stopped: bool = False

    def __post_init__(self) -> None:
        self.clock = SaveClock(self.config)

    @property
    def spent(self) -> Spent:
        """The cost of the training so far."""
        return self.earlier + Spent(self.tokens, time.monotonic() - self.started)


class _UpdateTrainer(Trainer):
    """The parts that all trainers share; ``job`` is set before TRL's constructor runs."""

    loss_is_scaled_for_ga = True
    job: Job

    def __init__(self, job: Job, **kwargs: Any):
        self.job = job
        self._figures: dict[str, float] = {}
        self._grad_norm = 0.0
        if kwargs["args"].n_gpu > 1:
            kwargs["args"]._n_gpu = 1  # one process trains on one GPU; TRL refuses nn.DataParallel
        super().__init__(callbacks=[_Steps(self)], **kwargs)

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        return dataset  # rows are token ids already

    def _send_telemetry(self) -> None:
        pass

    def get_train_dataloader(self) -> Any:
        loader = torch.utils.data.DataLoader(
            self.job.updates, batch_size=1, collate_fn=lambda items: items[0]
        )
        return self.accelerator.prepare(loader)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        optimizer = optimizer or self.optimizer
        assert optimizer is not None
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer,
                lambda step: learning_rate_factor(step, num_training_steps, self.job.config),
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward over every micro-batch of one update. → its loss, ()."""
        del num_items_in_batch
        model.train()
        batches: list[Batch] = [self._prepare_inputs(batch) for batch in inputs]
        total = sum((self.share(batch) for batch in batches), torch.zeros((), device=self.args.device))
        self._figures = {}
        loss = torch.zeros((), device=self.args.device)
        for batch in batches:
            with self.job.device.autocast:
                part: Any = self.compute_loss(model, batch, num_items_in_batch=total)
            self.accelerator.backward(part)
            loss += part.detach()
        self.job.tokens += sum(int(batch["attention"].sum()) for batch in inputs)
        self._figures["loss"] = self._finite("loss", float(loss))
        return loss

    def share(self, batch: Batch) -> Tensor:
        """What this micro-batch adds to the denominator of the update's mean: ()."""
        return batch["weights"].sum()

    def _add(self, name: str, values: Tensor, weight: float) -> None:
        self._figures[name] = self._figures.get(name, 0.0) + float(values.detach().float().sum()) * weight

    def _finite(self, what: str, value: float) -> float:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at update {self.state.global_step + 1} of {self.state.max_steps}; "
                "lower learning_rate or max_grad_norm, or use dtype float32; then run again."
            )
        return value

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        value = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        self._grad_norm = self._finite("gradient", float(value))
        return value

    def record(self, learning_rate: float) -> None:
        """Note the figures of the update just made and tell whoever watches."""
        seconds = time.monotonic() - self.job.started
        figures = {
            **self._figures,
            "grad_norm": self._grad_norm,
            "learning_rate": learning_rate,
        }
        self.job.history.append(figures)
        if self.job.progress is not None:
            speed = {
                "tokens": float(self.job.tokens),
                "tokens_per_second": self.job.tokens / max(seconds, 1e-9),
            }
            self.job.progress(self.state.global_step, self.state.max_steps, {**figures, **speed})

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The trainer's own checkpoint, written aside and renamed when whole, without TRL's model card."""
        writing = self.job.workspace.fresh("step")
        home, self.args.output_dir = self.args.output_dir, str(writing)
        try:
            Trainer._save_checkpoint(self, model, trial)
        finally:
            self.args.output_dir = home
        step = self.state.global_step
        written = writing / f"checkpoint-{step}"
        (written / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
        self.job.workspace.save_step(written, step, self.job.history, self.job.spent)
        self.job.clock.saved()

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # would ask a single batch for its size; nothing reads the count

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        pass  # ``record`` does it, once per update


class UpdateSFTTrainer(_UpdateTrainer, SFTTrainer):  # type: ignore[misc]
    """Supervised fine-tuning: mean negative log-likelihood over the completion tokens of an update."""

    def share(self, batch: Batch) -> Tensor:
        return (batch["completion"].sum(1) * batch["weights"]).sum()

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Σ w (-log P(completion)) / Σ w (completion tokens) over the update; this micro-batch's part: ()."""
        del return_outputs
        return weighted_mean(-completion_logprobs(model, inputs), inputs["weights"], num_items_in_batch)


class SoftDPOTrainer(_UpdateTrainer, DPOTrainer):  # type: ignore[misc]
    """DPO with labels that are probabilities, against reference log-probabilities computed beforehand."""

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        return dataset  # the columns are there already

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Mean of the configured preference loss over the rows of the update; this micro-batch's part: ()."""
        del return_outputs
        config = self.job.config
        assert isinstance(config, DPOConfig)
        chosen, rejected = completion_logprobs(model, inputs).chunk(2)
        ref_chosen, ref_rejected = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
        z = dpo_logits(chosen, rejected, ref_chosen, ref_rejected, config.beta)
        weights, total = inputs["weights"], num_items_in_batch
        share = 1.0 / float(total)
        self._add("reward_margin", z * weights, share)
        self._add("accuracy", ((z > 0) + 0.5 * (z == 0)) * weights, share)
        # Responses drawn from the reference make this an estimate of KL(reference ‖ policy) in nats.
        drift = 0.5 * ((ref_chosen - chosen) + (ref_rejected - rejected))
        self._add("kl", drift * weights, share)
        return weighted_mean(PREFERENCE_LOSSES[config.loss](z, inputs["p"]), weights, total)


class SoftRewardTrainer(_UpdateTrainer, RewardTrainer):  # type: ignore[misc]
    """A Bradley-Terry reward model with labels that are probabilities."""

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Mean of loss(r_c - r_r, p) + center (r_c + r_r)² over the update; this micro-batch's part: ().

        The second term is that of Eisenstein et al. 2023 (arXiv 2312.09244), eq. 2.
        """
        del return_outputs
        config = self.job.config
        assert isinstance(config, RewardModelConfig)
        chosen, rejected = end_rewards(model, inputs["ids"], inputs["attention"]).chunk(2)
        z, p = chosen - rejected, inputs["p"]
        values = PREFERENCE_LOSSES[config.loss](z, p)
        if config.center > 0:
            values = values + config.center * (chosen + rejected) ** 2
        weights, total = inputs["weights"], num_items_in_batch
        share = 1.0 / float(total)
        self._add("margin", z * weights, share)
        # How probable it is that a verdict drawn from the label sides with the model: 0.5 for every tie.
        self._add("agreement", torch.where(z > 0, p, torch.where(z < 0, 1.0 - p, 0.5)) * weights, share)
        self._add("reward", 0.5 * (chosen + rejected) * weights, share)
        return weighted_mean(values, weights, total)


class _Steps(TrainerCallback):
    """After every update: progress, checkpoints that are due, and stopping when asked to."""

    def __init__(self, trainer: _UpdateTrainer):
        self._trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._rate = float(kwargs["lr_scheduler"].get_last_lr()[0])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        job = self._trainer.job
        self._trainer.record(self._rate)
        last = state.global_step >= state.max_steps
        job.stopped = not last and job.should_stop()
        control.should_training_stop = last or job.stopped
        control.should_save = job.stopped or (not last and job.clock.due(state.global_step))
