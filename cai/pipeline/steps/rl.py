"""The steps that learn from a reward: PPO, GRPO and RLOO, all from the SFT model.

The trainer asks for rewards from its own thread; they are given on the event loop, where engines and journal
live. Whatever a judge says is in the journal, and what was drawn is on disk: a second run asks for neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

from cai.config.train_config import GroupConfig
from cai.engines import models
from cai.engines.local.vllm_arguments import for_a_sampler
from cai.pipeline.memory.fitting import longest, situation
from cai.pipeline.memory.memory_plan import sampler_share
from cai.pipeline.steps.best import reward_of
from cai.pipeline.steps.step import Run, prompts_of
from cai.pipeline.steps.train import Progress, train_on
from cai.rewards.reward import Reward, Scored
from cai.training.result import TrainResult
from cai.training.rl.online import GroupJob, train_group
from cai.values.types import Response


async def step_ppo(run: Run) -> None:
    """Prompts + reward + checkpoints/sft → checkpoints/policy."""
    from cai.training.rl.ppo import PPOJob, train_ppo  # loads torch

    reward = _reward(run)
    job = PPOJob(
        policy=str(run.folder.checkpoint("sft")),
        prompts=prompts_of(run),
        score=from_a_thread(reward),
        config=run.config.ppo,
        out=run.folder.checkpoint("policy"),
        seed=run.seed("ppo"),
        reward=reward.fingerprint,
        critic=_critic(run),
        vllm=_sampler(run, "ppo"),
    )

    def training(progress: Progress, should_stop: Callable[[], bool]) -> TrainResult:
        return train_ppo(job, progress=progress, should_stop=should_stop, say=run.progress.warn)

    await train_on(run, "ppo", training, "policy")


async def step_grpo(run: Run) -> None:
    """Prompts + reward + checkpoints/sft → checkpoints/policy, by GRPO."""
    await _group(run, "grpo", run.config.grpo)


async def step_rloo(run: Run) -> None:
    """Prompts + reward + checkpoints/sft → checkpoints/policy, by RLOO."""
    await _group(run, "rloo", run.config.rloo)


async def _group(run: Run, method: Literal["grpo", "rloo"], config: GroupConfig) -> None:
    reward = _reward(run)
    job = GroupJob(
        method=method,
        policy=str(run.folder.checkpoint("sft")),
        prompts=prompts_of(run),
        score=from_a_thread(reward),
        config=config,
        out=run.folder.checkpoint("policy"),
        seed=run.seed(method),
        reward=reward.fingerprint,
        vllm=_sampler(run, method),
    )

    def training(progress: Progress, should_stop: Callable[[], bool]) -> TrainResult:
        return train_group(job, progress=progress, should_stop=should_stop, say=run.progress.warn)

    await train_on(run, method, training, "policy")


def _sampler(run: Run, method: str) -> dict[str, Any]:
    """Arguments of the sampler's vLLM: its share of a GPU by the memory plan, and what the user says."""
    own = for_a_sampler(run.config.model.vllm)
    if "gpu_memory_utilization" in own:  # vLLM then sees for itself what it has for keys and values
        return own
    about = situation(run.config, longest([prompt.messages for prompt in prompts_of(run)]))
    return sampler_share(run.config, method, about) | own


def _reward(run: Run) -> Reward:
    """The run's reward, its judge on an engine that stands beside the sampler."""
    return reward_of(run, labeler=models.beside_a_sampler(models.labeler(run.config)))()


def from_a_thread(reward: Reward) -> Callable[[Sequence[Response]], list[Scored]]:
    """``reward.score`` for a thread that is not the event loop's: it waits for the loop's answer."""
    loop = asyncio.get_running_loop()

    def score(responses: Sequence[Response]) -> list[Scored]:
        return asyncio.run_coroutine_threadsafe(reward.score(responses), loop).result()

    return score


def _critic(run: Run) -> str | None:
    """The run's reward model gives the critic its start where it has all its weights to itself."""
    folder, config = run.folder.checkpoint("reward"), run.config.ppo
    uses_model = any(term.source == "model" for term in run.config.reward)
    alone = config.lora is None and config.critic == "separate"
    return str(folder) if uses_model and alone and folder.is_dir() else None
