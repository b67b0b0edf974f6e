"""The memory plan against measured peaks: each step in a process of its own, and its resident memory.

    python -m benchmarks.memory_plan [--models pocket DIR …] [--only sft-full …] [--json FILE]

Rows are as long as the settings allow (at a temperature at which hardly any response ends by itself), and an
update has two micro-batches, so that the plan's worst moment comes. A step is done for two updates. On Linux:
the peak is the kernel's own (``ru_maxrss``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from cai.config.run_config import RunConfig
from cai.engines.backend import model_path
from cai.engines.machine import this_machine
from cai.engines.model_shape import shape_of
from cai.pipeline.memory.footprint import GIB, Footprint
from cai.pipeline.memory.memory_plan import Situation, footprints

CASES = [
    f"{step}-{how}" for step in ("sft", "dpo", "reward", "ppo", "grpo", "rloo") for how in ("full", "lora")
]
CASES += ["ppo-shared", "grpo-vllm", "ask-transformers", "ask-vllm"]
ANSWER = 128  # tokens
MICRO = 8
LORA = {"r": 16, "alpha": 32}
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "cats", "sleep"]


def settings(model: str, case: str) -> RunConfig:
    """Two updates of two micro-batches each."""
    step, how = case.split("-")
    lora = LORA if how == "lora" else None
    learning = {
        "batch_size": 2 * MICRO,
        "micro_batch_size": MICRO,
        "max_steps": 2,
        "max_length": 1024,
        "lora": lora,
    }
    rolled: dict[str, Any] = {
        "steps": 2, "prompts": 16, "micro_batch_size": MICRO, "max_tokens": ANSWER, "temperature": 2.0,
        "lora": lora, "sampler": "vllm" if how == "vllm" else "transformers",
    }  # fmt: skip
    grouped = {**rolled, "prompts": 4, "group_size": 4}
    return RunConfig.model_validate(
        {
            "model": {"name": model, "engine": how if step == "ask" else "auto"},
            "generate": {"max_tokens": ANSWER},
            "revise": {"max_tokens": ANSWER},
            "sample": {"max_tokens": ANSWER},
            "sft": learning,
            "dpo": learning,
            "reward_model": learning,
            "ppo": {**rolled, "epochs": 1, "critic": "shared" if how == "shared" else "separate"},
            "grpo": grouped,
            "rloo": grouped,
            "reward": [{"source": "length.py:score"}],
        }
    )


def planned(config: RunConfig, case: str, prompt: int) -> Footprint:
    """The plan's word on ``case``; ``prompt``: tokens of every prompt."""
    shapes = {config.model.name: shape_of(model_path(config.model))}
    step, how = case.split("-")
    about = Situation(
        this_machine(), shapes, lambda model: how == "vllm", prompt, sampler=lambda settings: how == "vllm"
    )
    return footprints(config, ["generate" if step == "ask" else step], about)[0]


def text(tokenizer: Any, tokens: int) -> str:
    """About ``tokens`` tokens, at most."""
    words: list[str] = []
    while True:
        words.append(WORDS[len(words) % len(WORDS)])
        if len(tokenizer(" ".join(words)).input_ids) > tokens:
            return " ".join(words[:-1])


def measure(model: str, case: str) -> dict[str, Any]:
    """Do ``case`` here and say what was planned and what it came to, in bytes."""
    from cai.chat.encoding import encode
    from cai.chat.tokenizer_files import load_tokenizer
    from cai.values.types import Message, Prompt

    config, folder = settings(model, case), model_path(settings(model, case).model)
    tokenizer = load_tokenizer(folder)
    asked, answer = text(tokenizer, 48), text(tokenizer, ANSWER - 2)
    prompts = [Prompt(f"p{i}", (Message("user", asked),)) for i in range(16)]
    length = len(encode(tokenizer, prompts[0].messages))
    plan = planned(config, case, length)
    _as_in_a_run()
    with tempfile.TemporaryDirectory() as out:
        _do(case, config, folder, prompts, answer=answer, out=Path(out) / "out")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {"model": model, "case": case, "planned": plan.total, "measured": peak, "parts": _parts(plan)}


def _as_in_a_run() -> None:
    """Import what a run's process has imported by its trainings: its steps share it."""
    import trl.trainer.grpo_trainer  # noqa: F401

    with suppress(ImportError):
        import vllm  # noqa: F401


def _parts(plan: Footprint) -> dict[str, float]:
    names = ("weights", "gradients", "optimizer", "activations", "cache", "runtime")
    return {name: round(getattr(plan, name) / GIB, 3) for name in names}


def _do(
    case: str, config: RunConfig, folder: Path, prompts: Sequence[Any], *, answer: str, out: Path
) -> None:
    from cai.training.dpo import train_dpo
    from cai.training.examples import Example
    from cai.training.reward_model import train_reward
    from cai.training.sft import train_sft
    from cai.values.types import Ranked

    step, _ = case.split("-")
    many = [replace(prompt, id=f"{prompt.id}-{i}") for i in range(2) for prompt in prompts]
    quiet: dict[str, Callable[[str], None]] = {"say": lambda line: None}
    if step == "ask":
        asyncio.run(_ask(config, prompts))
    elif step == "sft":
        train_sft(folder, [Example(p, answer) for p in many], config.sft, out, 0, **quiet)
    elif step in ("dpo", "reward"):
        pairs = [Ranked(p, answer, " ".join(reversed(answer.split())), 0.8, 1.0) for p in many]
        if step == "dpo":
            train_dpo(folder, pairs, config.dpo, out, 0, **quiet)
        else:
            train_reward(folder, pairs, config.reward_model, out, 0, **quiet)
    else:
        _online(step, config, folder, prompts, out)


def _online(step: str, config: RunConfig, folder: Path, prompts: Sequence[Any], out: Path) -> None:
    from cai.rewards.reward import Scored
    from cai.training.rl.online import GroupJob, train_group
    from cai.training.rl.ppo import PPOJob, train_ppo

    def score(responses: Sequence[Any]) -> list[Scored]:
        return [Scored(float(len(response.text) % 7)) for response in responses]

    if step == "ppo":
        train_ppo(PPOJob(str(folder), prompts, score, config.ppo, out, 0), say=lambda line: None)
        return
    method = "grpo" if step == "grpo" else "rloo"
    train_group(
        GroupJob(method, str(folder), prompts, score, getattr(config, method), out, 0), say=lambda line: None
    )


async def _ask(config: RunConfig, prompts: Sequence[Any]) -> None:
    from cai.engines.backend import open_engine
    from cai.values.types import CompletionRequest, Sampling

    engine = await open_engine(config.model)
    sampling = Sampling(2.0, max_tokens=ANSWER)
    requests = [CompletionRequest(prompt.messages, sampling, i) for i in range(8) for prompt in prompts]
    await asyncio.gather(*(engine.complete(request) for request in requests))
    await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["pocket"])
    parser.add_argument("--only", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help="one model, one case, in this process")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.models[0], given.only[0])))
        return
    print(f"{platform.machine()}, {this_machine()}, {date.today()}; GiB")
    print(f"{'model':<12}{'step':<18}{'planned':>9}{'measured':>10}{'off':>8}")
    for model in given.models:
        for case in given.only:
            command = [
                sys.executable,
                "-m",
                "benchmarks.memory_plan",
                "--here",
                "--models",
                model,
                "--only",
                case,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            name = Path(model).name
            if done.returncode:
                print(f"{name:<12}{case:<18} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            found = json.loads(done.stdout.strip().splitlines()[-1])
            off = found["planned"] / found["measured"] - 1
            sizes = f"{found['planned'] / GIB:>9.2f}{found['measured'] / GIB:>10.2f}{off:>+8.0%}"
            print(f"{name:<12}{case:<18}{sizes}  {found['parts']}", flush=True)
            if given.json:
                with given.json.open("a") as file:
                    file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
