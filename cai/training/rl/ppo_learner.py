"""One step of proximal policy optimisation: from scored responses to updates of policy and critic.

Schulman et al. 2017 (arXiv 1707.06347), Ziegler et al. 2019, Huang et al. 2024 (arXiv 2403.17031). This file
is the order of things; the formulas are in ``advantages.py`` and ``ppo_losses.py``, the networks in
``actors.py``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cai.config.train_config import PPOConfig
from cai.training.processes import Processes
from cai.training.rl.actors import Actors
from cai.training.rl.advantages import KLController, gae, moments, token_rewards, whiten
from cai.training.rl.ppo_losses import importance_weights, policy_loss, value_loss
from cai.training.rl.rollouts import Rollout, Task
from cai.training.updates.batches import Batch, padded
from cai.training.updates.schedule import cuts
from cai.values.errors import TrainingError

Figures = dict[str, float]
Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a prompt and of a response to it."""
Tokens = Callable[[Tensor], Tensor]
"""From (B, R) to the (N,) response tokens of a micro-batch."""


@dataclass(frozen=True, slots=True)
class Experience:
    """A step's responses for the updates: (B, R) each, padded on the right; ``mask`` marks tokens."""

    rows: list[Pair]
    mask: Tensor
    old: Tensor  # log π of the trainer's weights before the step
    values: Tensor
    advantages: Tensor
    returns: Tensor
    weights: Tensor

    @property
    def lengths(self) -> list[int]:
        return [len(prompt) + len(response) for prompt, response in self.rows]


@dataclass
class Learner:
    """Networks, optimizer and what has happened so far."""

    actors: Actors
    optimizer: torch.optim.Optimizer
    config: PPOConfig
    pad: int
    seed: int
    processes: Processes = field(default_factory=Processes)
    controller: KLController = field(default_factory=lambda: KLController(0.0))
    history: list[Figures] = field(default_factory=list)
    tokens: int = 0

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Everything that learns, in a fixed order."""
        return [*self.actors.policy_parameters, *self.actors.critic_parameters]

    def adapt(self, figures: Figures) -> None:
        """Set the price of KL for the next step."""
        self.controller = self.controller.after(figures["kl"], self.config.prompts)

    # --- one step -----------------------------------------------------------------------------

    def learn(self, step: int, rollouts: Sequence[Rollout], tasks: Sequence[Task]) -> Figures:
        """Every update of a step. → its figures, means over all processes.

        Raises:
            TrainingError: no response has a score, or a figure is not finite.
        """
        scored = [n for n, rollout in enumerate(rollouts) if rollout.score is not None]
        unscored = float(self.processes.sum(torch.tensor(float(len(rollouts) - len(scored)))))
        if unscored == len(rollouts) * self.processes.count:
            raise TrainingError(
                f"step {step + 1}: no response has a reward; the first reason: {rollouts[0].reason}"
            )
        self._set_rates(step)
        plan = self._plan(step, scored, len(rollouts))
        experience, figures = self._experience([rollouts[n] for n in scored], tasks, plan[0])
        return {**figures, "unscored": unscored, **self._updates(step, experience, plan)}

    def _set_rates(self, step: int) -> None:
        config = self.config
        factor = 1.0 - step / config.steps if config.schedule == "linear" else 1.0
        rates = (config.learning_rate, config.critic_learning_rate or config.learning_rate)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor

    def _plan(self, step: int, scored: Sequence[int], own: int) -> list[list[list[int]]]:
        """Rows (places in ``scored``) of every minibatch of every pass.

        All processes shuffle the same list of all responses and take what is theirs, so that the split is
        that of a single process.
        """
        count, rank = self.processes.count, self.processes.rank
        shuffled = random.Random(f"{self.seed}/{step}/minibatches")
        place = {n * count + rank: i for i, n in enumerate(scored)}
        size = -(-own * count // self.config.minibatches)
        plan = []
        for _ in range(self.config.epochs):
            order = list(range(own * count))
            shuffled.shuffle(order)
            minis = [order[start : start + size] for start in range(0, len(order), size)]
            plan.append([[place[n] for n in mini if n in place] for mini in minis])
        return plan

    def _micro(self, lengths: Sequence[int], rows: Sequence[int]) -> list[list[int]]:
        """Micro-batches of nearly equal length, the longest first, cut where padding costs least."""
        ordered = sorted(rows, key=lambda row: (-lengths[row], row))
        runs = cuts(
            [lengths[row] for row in ordered], self.config.micro_batch_size, self.actors.device.overhead
        )
        return [ordered[start:end] for start, end in runs]

    def _experience(
        self, kept: Sequence[Rollout], tasks: Sequence[Task], minibatches: Sequence[Sequence[int]]
    ) -> tuple[Experience, Figures]:
        """Log-probabilities, values and advantages before the step's first update.

        Read in the very micro-batches of the first pass, so that its ratios are exactly 1.
        """
        config, reduce = self.config, self.processes.sum
        rows = [(tasks[r.task].ids, r.ids) for r in kept]
        mask, sampled = _padded_responses(kept)
        old, reference, values = self._read(rows, mask, minibatches)
        scores = torch.tensor([r.score or 0.0 for r in kept])
        kl = torch.where(mask, old - reference, 0.0)
        rewards = token_rewards(scores, kl, mask, self.controller.beta)
        if config.whiten_rewards:
            rewards = whiten(rewards, mask, shift=False, reduce=reduce)
        plain = gae(rewards, values, mask, config.gamma, config.lam)
        experience = Experience(
            rows=rows,
            mask=mask,
            old=old,
            values=values,
            advantages=whiten(plain, mask, reduce=reduce),
            returns=plain + values,
            weights=torch.where(mask, importance_weights(old, sampled, config.importance_cap), 0.0),
        )
        return experience, self._figures(kept, kl, torch.where(mask, old - sampled, 0.0), experience)

    @torch.no_grad()
    def _read(
        self, rows: Sequence[Pair], mask: Tensor, minibatches: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log π, log π_ref and V of every response token: (B, R) each."""
        lengths = [len(prompt) + len(response) for prompt, response in rows]
        old, reference, values = (torch.zeros(mask.shape) for _ in range(3))
        for micro in (m for minibatch in minibatches for m in self._micro(lengths, minibatch)):
            batch = self._batch([rows[i] for i in micro])
            logprobs, state_values = self.actors.read(batch, self.config.temperature)
            _fill(old, micro, mask, logprobs)
            _fill(reference, micro, mask, self.actors.reference_logprobs(batch, self.config.temperature))
            _fill(values, micro, mask, state_values)
        return old, reference, values

    def _figures(self, kept: Sequence[Rollout], kl: Tensor, drift: Tensor, e: Experience) -> Figures:
        def per_token(values: Tensor) -> float:
            return float(moments(values, e.mask, self.processes.sum)[0])

        def per_response(values: Sequence[float] | Tensor) -> float:
            column = torch.as_tensor(values, dtype=torch.float64)
            return float(moments(column, torch.ones(len(kept), dtype=torch.bool), self.processes.sum)[0])

        errors = float(moments(e.returns - e.values, e.mask, self.processes.sum)[1])
        spread = float(moments(e.returns, e.mask, self.processes.sum)[1])
        return {
            "reward": per_response([r.reward or 0.0 for r in kept]),
            "score": per_response([r.score or 0.0 for r in kept]),
            "kl": per_response(kl.sum(1)),
            "entropy": per_token(-e.old),  # an estimate from the tokens that were drawn
            "length": per_response(e.mask.sum(1)),
            "cut_off": per_response([float(r.finish == "length") for r in kept]),
            "sampler_drift": per_token(drift.abs()),
            "explained_variance": 1.0 - errors / max(spread, 1e-8),
            "beta": self.controller.beta,
        }

    # --- updates ------------------------------------------------------------------------------

    def _updates(self, step: int, e: Experience, plan: Sequence[Sequence[Sequence[int]]]) -> Figures:
        made: list[Figures] = []
        for epoch in plan:
            for minibatch in epoch:
                total = float(self.processes.sum(e.mask[list(minibatch)].sum().double()))
                if total == 0.0:
                    continue  # a minibatch of unscored responses
                made.append(self._update(step, e, minibatch, total))
                limit = self.config.max_update_kl
                if limit is not None and made[-1]["update_kl"] > limit:
                    return _summary(made)
        return _summary(made)

    def _update(self, step: int, e: Experience, minibatch: Sequence[int], total: float) -> Figures:
        """One optimizer step on a minibatch with ``total`` response tokens on all processes."""
        config, device = self.config, self.actors.head.weight.device
        sums = torch.zeros(5, dtype=torch.float64)
        frozen = step < config.critic_warmup
        self.optimizer.zero_grad(set_to_none=True)
        for micro in self._micro(e.lengths, minibatch):
            here = e.mask[micro]

            def tokens(values: Tensor, micro: list[int] = micro, here: Tensor = here) -> Tensor:
                return values[micro][here].to(device)

            def policy(logprobs: Tensor, tokens: Tokens = tokens) -> Tensor:
                old, advantages, weights = tokens(e.old), tokens(e.advantages), tokens(e.weights)
                part = policy_loss(logprobs, old, advantages, weights, clip=config.clip, total=total)
                sums[:3] += torch.stack([part.loss.detach(), part.clipped, part.kl]).double().cpu()
                return part.loss

            def critic(values: Tensor, tokens: Tokens = tokens) -> Tensor:
                old, returns = tokens(e.values), tokens(e.returns)
                fit = value_loss(values, old, returns, clip=config.value_clip, total=total)
                sums[3:] += torch.stack([fit.loss.detach(), fit.clipped]).double().cpu()
                return config.value_coef * fit.loss

            batch = self._batch([e.rows[i] for i in micro])
            self.actors.descend(batch, config.temperature, None if frozen else policy, critic)
            self.tokens += int(batch["attention"].sum())
        sums = self.processes.sum(sums)
        norms = self._apply(frozen)
        figures = {
            "policy_loss": float(sums[0]),
            "clip_fraction": float(sums[1]) / total,
            "update_kl": float(sums[2]) / total,
            "value_loss": float(sums[3]),
            "value_clip_fraction": float(sums[4]) / total,
            **norms,
        }
        for name, value in figures.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} at step {step + 1} of {config.steps}; lower learning_rate, raise "
                    "kl_coef, or use dtype float32; then run again."
                )
        return figures

    def _apply(self, frozen: bool) -> Figures:
        """One optimizer step on the summed gradients, clipped for policy and critic apart."""
        norms = {}
        for name, parameters in (
            ("policy_grad_norm", self.actors.policy_parameters),
            ("critic_grad_norm", self.actors.critic_parameters),
        ):
            if frozen and name == "policy_grad_norm":
                norms[name] = 0.0
                continue
            self.processes.add_gradients(parameters)
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
            norms[name] = float(norm)
        self.optimizer.step()
        return norms

    def _batch(self, rows: Sequence[Pair]) -> Batch:
        device = self.actors.head.weight.device
        return {name: tensor.to(device) for name, tensor in padded(rows, self.pad).items()}


def _padded_responses(kept: Sequence[Rollout]) -> tuple[Tensor, Tensor]:
    """Which of (B, R) are tokens, and the sampler's log-probabilities of them."""
    width = max((len(r.ids) for r in kept), default=1)
    mask, sampled = torch.zeros(len(kept), width, dtype=torch.bool), torch.zeros(len(kept), width)
    for i, r in enumerate(kept):
        mask[i, : len(r.ids)] = True
        sampled[i, : len(r.ids)] = torch.tensor(r.logprobs)
    return mask, sampled


def _fill(target: Tensor, rows: Sequence[int], mask: Tensor, values: Tensor) -> None:
    """Write (N,) values of the rows' tokens into their places of a (B, R) tensor."""
    part = torch.zeros(len(rows), target.shape[1])
    part[mask[list(rows)]] = values.float().cpu()
    target[list(rows)] = part


def _summary(made: Sequence[Figures]) -> Figures:
    """Means over the updates; the first update's ratio statistics show whether old equals new."""
    means = {name: sum(update[name] for update in made) / len(made) for name in made[0]}
    first = {"first_clip_fraction": made[0]["clip_fraction"], "first_update_kl": made[0]["update_kl"]}
    return {**means, **first, "updates": float(len(made))}
