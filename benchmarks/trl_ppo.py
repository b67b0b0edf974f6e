"""One training with TRL 1.12's experimental PPO: the other side of ``ppo_side_by_side.py``.

    PYTHON_OF_TRL_1.12 -P benchmarks/trl_ppo.py JOB.json RESULT.json

Knows nothing of cai: models are folders, prompts are token ids. Left as they are: all of TRL's own code; a
timer is put around its ``batch_generation``, which also sees how long the responses are.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

END = 2


class Recorder(TrainerCallback):
    """Seconds, response tokens and TRL's own figures of every step."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.steps: list[dict[str, float]] = []
        self.now: dict[str, float] = {}
        self.figures: dict[str, float] = {}

    def watch_generation(self) -> None:
        plain = ppo_trainer.batch_generation

        def timed(model: Any, queries: torch.Tensor, *more: Any) -> Any:
            started = time.process_time()
            drawn = plain(model, queries, *more)
            responses = drawn[0][:, queries.shape[1] :]
            ends = (responses == self.end).int()
            self.now["drawing"] = time.process_time() - started
            self.now["tokens"] = float((ends.cumsum(1) - ends == 0).sum())
            return drawn

        ppo_trainer.batch_generation = timed

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        self.figures = dict(logs)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        figures = {"score": self.figures["objective/scores"], "kl": self.figures["objective/kl"]}
        now = {"end": time.monotonic(), "cpu": time.process_time()}
        self.steps.append({**now, **self.now, **figures})


def scorer(folder: str, center: float) -> Any:
    """The reward model, or a critic that starts from it; its head gets the offset that cai takes off."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, trust_remote_code=False
    )
    head = torch.nn.Linear(model.score.in_features, 1)
    with torch.no_grad():
        head.weight.copy_(model.score.weight)
        head.bias.fill_(-center)
    model.score = head
    return model


def check(job: dict[str, Any], model: Any, pad: int) -> None:
    """TRL must see the reward that cai gave to the same conversations."""
    for row in job["checks"]:
        ids = torch.tensor([[*row["prompt"], *row["response"]]])
        with torch.no_grad():
            _, score, _ = ppo_trainer.get_reward(model, ids, pad, len(row["prompt"]))
        if abs(float(score) - row["score"]) > 1e-4:
            raise SystemExit(f"TRL's reward is {float(score)}, cai's {row['score']}: not the same reward")


def arguments(job: dict[str, Any]) -> PPOConfig:
    s = job["settings"]
    micro = s["trl_batch"]
    return PPOConfig(
        output_dir=job["out"], seed=job["seed"], use_cpu=True, bf16=job["bf16"], report_to="none",
        disable_tqdm=True, gradient_checkpointing=False, dataloader_pin_memory=False, save_strategy="no",
        logging_steps=1, num_sample_generations=0, num_mini_batches=s["minibatches"],
        total_episodes=s["prompts"] * s["steps"],
        per_device_train_batch_size=micro, gradient_accumulation_steps=s["prompts"] // micro,
        local_rollout_forward_batch_size=s["prompts"], num_ppo_epochs=s["epochs"],
        response_length=s["max_tokens"], temperature=s["temperature"], stop_token_id=END,
        missing_eos_penalty=s["missing_eos_penalty"], learning_rate=s["learning_rate"],
        lr_scheduler_type="linear", adam_epsilon=1e-5, weight_decay=0.0, whiten_rewards=True,
        kl_coef=s["kl_coef"], cliprange=s["clip"], cliprange_value=s["value_clip"], vf_coef=s["value_coef"],
        gamma=s["gamma"], lam=s["lam"],
    )  # fmt: skip


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    if job[
        "bf16"
    ]:  # what ``accelerate launch --mixed_precision bf16`` sets; bf16=True alone does nothing here
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    tokenizer = AutoTokenizer.from_pretrained(job["policy"], padding_side="left", trust_remote_code=False)
    if tokenizer.eos_token_id != END:
        raise SystemExit(f"the end-of-turn token is {tokenizer.eos_token_id}, expected {END}")
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(job["policy"], dtype=torch.float32, trust_remote_code=False)
        for _ in range(2)
    )
    reward, critic = (scorer(job["reward"], job["center"]) for _ in range(2))
    check(job, reward, tokenizer.pad_token_id)
    prompts = json.loads(Path(job["prompts"]).read_text())
    recorder = Recorder(END)
    recorder.watch_generation()
    trainer = PPOTrainer(
        args=arguments(job),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=critic,
        train_dataset=Dataset.from_list([{"input_ids": row["ids"]} for row in prompts]),
        callbacks=[recorder],
    )
    print("mixed precision:", trainer.accelerator.mixed_precision, flush=True)
    trainer.train()
    trainer.save_model(job["out"])
    Path(sys.argv[2]).write_text(json.dumps({"steps": recorder.steps}))


if __name__ == "__main__":
    main()
