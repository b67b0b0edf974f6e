"""One training with cai's PPO: our side of ``ppo_side_by_side.py``, called as a user of the library calls it.

    python -m benchmarks.cai_ppo JOB.json RESULT.json

A timer is put around drawing: the weight sync and the sampler.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cai.config.train_config import PPOConfig
from cai.engines.samplers.sampler_transformers import TransformersSampler
from cai.engines.samplers.sampler_vllm import VLLMSampler
from cai.rewards.model import RewardModel
from cai.rewards.reward import Scored
from cai.training.rl.ppo import PPOJob, train_ppo
from cai.values.types import Message, Prompt, Response


class Clock:
    """CPU seconds spent in the calls that it is put around, since ``taken`` was last asked."""

    def __init__(self) -> None:
        self.spent = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = time.process_time()
            try:
                return call(*arguments)
            finally:
                self.spent += time.process_time() - started

        return timed

    def taken(self) -> float:
        spent, self.spent = self.spent, 0.0
        return spent


def config(job: dict[str, Any]) -> PPOConfig:
    """Every setting of the comparison; what has no part in it stays as it is by default."""
    ours = {name: value for name, value in job["settings"].items() if not name.startswith("trl_")}
    ours |= {name: job[name] for name in ("sampler", "dtype", "critic")}
    never_clipped = 1e6  # TRL's PPO does not clip gradients
    return PPOConfig.model_validate({**ours, "schedule": "linear", "max_grad_norm": never_clipped})


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    rows = json.loads(Path(job["prompts"]).read_text())
    prompts = [Prompt(row["id"], tuple(Message(**message) for message in row["messages"])) for row in rows]
    reward, clock = RewardModel(job["reward"]), Clock()

    def score(responses: Sequence[Response]) -> list[Scored]:
        return asyncio.run(reward.score(responses))

    for sampler in (VLLMSampler, TransformersSampler):
        for name in ("sync", "sample"):
            setattr(sampler, name, clock.around(getattr(sampler, name)))
    steps: list[dict[str, float]] = []

    def note(step: int, total: int, figures: dict[str, float]) -> None:
        seen = {name: figures[name] for name in ("score", "kl", "sampler_drift", "cut_off")}
        tokens = figures["length"] * job["settings"]["prompts"]
        now = {"end": time.monotonic(), "cpu": time.process_time()}
        steps.append({**now, "tokens": tokens, "drawing": clock.taken(), **seen})

    out = Path(job["out"])
    made = PPOJob(
        policy=job["policy"],
        prompts=prompts,
        score=score,
        config=config(job),
        out=out,
        seed=job["seed"],
        critic=job["reward"] if job["critic"] == "separate" else None,
    )
    train_ppo(made, progress=note)
    Path(sys.argv[2]).write_text(json.dumps({"steps": steps}))


if __name__ == "__main__":
    main()
