"""TRL's GRPOTrainer and RLOOTrainer with our prompts, sampler, reward and checkpoints. Importing loads TRL.

TRL tokenizes prompts with the chat template as one string, where contents can become control tokens, and
generates with ``generate`` or with a vLLM whose weights it can't replace on a CPU. Both are replaced here,
in the two methods that both trainers have for it. What else differs, and why:

* A response without a score goes in as None: TRL then leaves it out of its group's mean and deviation, and
  its advantage is 0. (It stays in GRPO's denominator, and in its KL term.)
* Weights between sampler and trainer: GRPO has them per token, capped (as it does with a vLLM of its own).
  RLOO has none; its advantages are multiplied by the capped ratio of the whole response.
* KL is measured at β = 0 too, per response, as the mean of Σ log π - log π_ref (k1; Schulman 2020).
* A checkpoint is written under another name and renamed when whole (TRL writes in place).
Dimensions: B rows, R response tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from cai.config.train_config import GroupConfig
from cai.training.checkpoint import Workspace
from cai.training.result import GUARD, NOTHING, Spent, Watch
from cai.training.rl import rollouts as rolled
from cai.training.rl.drift import require_following
from cai.training.rl.online_figures import mean, measure, sampled_logprobs
from cai.training.rl.ppo import tripped
from cai.training.rl.rollouts import Rate, Rollout, Score, Task, Wanted
from cai.training.save_clock import SaveClock
from cai.values.errors import TrainingError


class GuardTripped(Exception):
    """A guard ends the training before a step's responses are learned from."""


@dataclass
class Run:
    """What the trainers below need to know beyond TRL's own arguments, and what they have done so far."""

    config: GroupConfig
    seed: int
    score: Score
    tasks: Sequence[Task]
    workspace: Workspace
    watch: Watch
    dtype: torch.dtype = torch.float32  # in which the model is computed
    sampler: Any = None  # a Sampler, once the trainer has a model to draw from
    history: list[dict[str, float]] = field(default_factory=list)
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)
    earlier: Spent = NOTHING  # by the processes that this one goes on from
    stopped: bool = False

    def __post_init__(self) -> None:
        self.clock = SaveClock(self.config)

    @property
    def spent(self) -> Spent:
        """The cost of the training so far; tokens are this process's."""
        return self.earlier + Spent(self.tokens, time.monotonic() - self.started)


class _GroupTrainer(Trainer):
    """The parts that both trainers share; ``run`` is set before TRL's constructor runs."""

    run: Run
    beta: float
    ref_model: Any
    _metrics: Any

    def __init__(self, run: Run, **kwargs: Any):
        self.run = run
        self._picked: list[int] = []
        self._rollouts: list[Rollout] = []
        self._read: list[Tensor] | None = None
        self._figures: dict[str, float] = {}
        self._loss = self._grad_norm = 0.0
        if kwargs["args"].n_gpu > 1:
            kwargs["args"]._n_gpu = 1  # one process trains on one GPU; TRL refuses nn.DataParallel
        super().__init__(callbacks=[_Steps(self)], **{**kwargs, "reward_funcs": self.scores})
        self.beta = run.config.kl_coef

    # --- responses ----------------------------------------------------------------------------

    def scores(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """TRL's reward function: the reward of each response of this step, less its penalties."""
        del completions, columns
        return [rollout.score for rollout in self._rollouts]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Token ids of prompts; a "prompt" of the dataset is the number of a task."""
        self._picked = [int(prompt) for prompt in prompts]
        return [list(self.run.tasks[task].ids) for task in self._picked], None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        """Draw and score this process's responses, or read them where an earlier attempt left them."""
        del prompt_ids, args, kwargs
        run, step, rank = self.run, self.state.global_step, self.accelerator.process_index
        place = rolled.Place(step, rank, self.accelerator.num_processes)
        found = rolled.load(run.workspace, place)
        if found is None:
            policy = self.accelerator.unwrap_model(self.model)
            run.sampler.sync(policy)
            first = (step * self.accelerator.num_processes + rank) * len(self._picked)
            wanted = [Wanted(first + i, task) for i, task in enumerate(self._picked)]
            tasks = [run.tasks[task] for task in self._picked]
            draws = rolled.draw(run.sampler, tasks, wanted, run.config, run.seed)
            require_following(
                run.sampler, policy, [task.ids for task in tasks], draws,
                temperature=run.config.temperature, dtype=run.dtype, step=step,
            )  # fmt: skip
            rate = Rate(run.score, run.config)
            found = rolled.scored(draws, wanted, run.tasks, self.processing_class, rate)
            rolled.save(run.workspace, place, found)
        self._rollouts = found
        return self._handed_over(found)

    def _handed_over(self, rollouts: Sequence[Rollout]) -> Any:
        """Responses in the form that this trainer's ``_generate`` takes."""
        raise NotImplementedError

    # --- figures ------------------------------------------------------------------------------

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)  # type: ignore[misc]
        if self._read is not None:
            self._read.append(found[0])
        return found

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        """One step's responses as TRL learns from them; their figures are noted and guarded."""
        self._read = []
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if self.beta == 0.0:
            self._read_reference(output)
        (policy, reference), self._read = self._read, None  # in this order: TRL asks the policy first
        mask = output["completion_mask"]
        drift = (policy - sampled_logprobs(self._rollouts, mask)) * mask
        self._weigh(output, drift)
        kl = (policy - reference) * mask
        self._figures = {
            **measure(self._rollouts, kl, drift, mask, self._over_processes),
            "beta": self.beta,
        }
        self._finite("kl", self._figures["kl"])
        guard = tripped(self.run.config, self._figures, self.run.history)
        if guard is not None:
            self.run.history.append({**self._figures, GUARD + guard: 1.0})
            raise GuardTripped(guard)
        self._loss = 0.0
        return output

    def _weigh(self, output: dict[str, Any], drift: Tensor) -> None:
        """Weigh responses by π_trainer / π_sampler, from its logarithms (B, R), where TRL does not."""

    @torch.no_grad()
    def _read_reference(self, output: dict[str, Any]) -> None:
        """log π_ref of every response token, by TRL's own function."""
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        attention = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        model = self.ref_model or self.model
        off = nullcontext() if self.ref_model else self.accelerator.unwrap_model(self.model).disable_adapter()
        with off:
            self._get_per_token_logps_and_entropies(
                model, ids, attention, output["completion_ids"].size(1), self.args.per_device_train_batch_size
            )

    def _over_processes(self, value: Tensor, how: str = "sum") -> Tensor:
        reduced: Tensor = self.accelerator.reduce(value, reduction=how)
        return reduced

    def agreed(self, first: int) -> int:
        """What the first process says, in all of them; the others say 0."""
        return int(self._over_processes(torch.tensor(float(first), device=self.args.device)))

    def _finite(self, what: str, value: float) -> float:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {self.state.global_step + 1} of {self.state.max_steps}; "
                "lower learning_rate, raise kl_coef, or use dtype float32; then run again."
            )
        return value

    # --- updates ------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._loss += self._finite("loss", float(loss))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        value = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        self._grad_norm = self._finite("gradient", float(value))
        return value

    def record(self, learning_rate: float) -> None:
        """Note the figures of the step just made and tell whoever watches."""
        run, noted = self.run, self._metrics["train"]
        step: dict[str, float] = {
            **self._figures,
            "entropy": mean(noted["entropy"]),
            "clip_fraction": mean(noted["clip_ratio/region_mean"]),
            "loss": float(self._over_processes(torch.tensor(self._loss, device=self.args.device), "mean")),
            "grad_norm": self._grad_norm,
            "learning_rate": learning_rate,
        }
        noted.clear()
        run.history.append(step)
        run.tokens += sum(len(run.tasks[r.task].ids) + len(r.ids) for r in self._rollouts)
        if run.watch.progress is not None and self.accelerator.is_main_process:
            speed = run.tokens / max(time.monotonic() - run.started, 1e-9)
            more = {"tokens": float(run.tokens), "tokens_per_second": speed}
            run.watch.progress(self.state.global_step, self.state.max_steps, {**step, **more})

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The trainer's own checkpoint, written aside and renamed when whole, without TRL's model card.

        Several processes write into it; the first makes the folder and renames it.
        """
        workspace, step, first = self.run.workspace, self.state.global_step, self.accelerator.is_main_process
        if first:
            workspace.fresh("step")
        self.accelerator.wait_for_everyone()
        writing = workspace.partial / "writing-step"
        home, self.args.output_dir = self.args.output_dir, str(writing)
        try:
            Trainer._save_checkpoint(self, model, trial)
        finally:
            self.args.output_dir = home
        self.accelerator.wait_for_everyone()
        if first:
            written = writing / f"checkpoint-{step}"
            (written / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
            workspace.save_step(written, step, self.run.history, self.run.spent)
        self.run.clock.saved()

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # nothing reads the count

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        pass  # ``record`` does it, once per step


class OnlineGRPO(_GroupTrainer, GRPOTrainer):
    """Group-relative policy optimisation: rewards whitened within a group, a KL term (k3) in the loss."""

    def __init__(self, run: Run, **kwargs: Any):
        super().__init__(run, **kwargs)
        # Responses come from elsewhere, as they do from vLLM: GRPO then weighs them per token.
        self.use_vllm = True

    def _handed_over(self, rollouts: Sequence[Rollout]) -> Any:
        return [list(r.ids) for r in rollouts], [list(r.logprobs) for r in rollouts]


class OnlineRLOO(_GroupTrainer, RLOOTrainer):
    """REINFORCE, each response's baseline the mean of the others of its group; KL (k1) in the reward."""

    def _handed_over(self, rollouts: Sequence[Rollout]) -> Any:
        return [list(r.ids) for r in rollouts]

    def _weigh(self, output: dict[str, Any], drift: Tensor) -> None:
        weights = drift.sum(1).exp().clamp(max=self.run.config.importance_cap)
        output["advantages"] = output["advantages"] * weights


TRAINERS = {"grpo": (OnlineGRPO, GRPOConfig), "rloo": (OnlineRLOO, RLOOConfig)}


class _Steps(TrainerCallback):
    """After every step: progress, checkpoints that are due, and stopping when asked to."""

    def __init__(self, trainer: _GroupTrainer):
        self._trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._rate = float(kwargs["lr_scheduler"].get_last_lr()[0])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        run = self._trainer.run
        self._trainer.record(self._rate)
        last = state.global_step >= state.max_steps
        asked = run.watch.should_stop is not None and run.watch.should_stop()
        here = torch.tensor([float(asked), float(run.clock.due(state.global_step))], device=args.device)
        stop, due = self._trainer._over_processes(here).tolist()  # in any process: they save together
        run.stopped = not last and stop > 0
        control.should_training_stop = last or run.stopped
        control.should_save = run.stopped or (not last and due > 0)
