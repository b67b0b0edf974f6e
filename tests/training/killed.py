"""Run a training again and again, killing it at random moments, then once undisturbed; report what happened.

    python tests/training/killed.py MODEL WORK sft|dpo|reward KILLS

TRL is imported once; every attempt is a fork of the process that imported it, so that many kills take
little time. Prints a JSON object: the updates that each attempt made.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

import torch
import trl.trainer.dpo_trainer
import trl.trainer.reward_trainer
import trl.trainer.sft_trainer  # noqa: F401
from training_rows import examples, pairs

from cai.config.train_config import DPOConfig, RewardModelConfig, SFTConfig
from cai.training.dpo import train_dpo
from cai.training.reward_model import train_reward
from cai.training.sft import train_sft

SETTINGS = {"batch_size": 4, "micro_batch_size": 2, "learning_rate": 1e-3, "epochs": 4, "save_steps": 3}
UPDATES = 20


def train(method: str, model: str, out: Path, pipe: int) -> None:
    """One training; every update is a byte in ``pipe``."""

    def progress(step: int, total: int, figures: dict[str, float]) -> None:
        assert total == UPDATES
        os.write(pipe, bytes([step]))

    if method == "sft":
        train_sft(model, examples(), SFTConfig(**SETTINGS), out, 5, progress=progress)
    elif method == "dpo":
        train_dpo(model, pairs(), DPOConfig(**SETTINGS), out, 5, progress=progress)
    else:
        train_reward(model, pairs(), RewardModelConfig(**SETTINGS), out, 5, progress=progress)


def attempt(method: str, model: str, out: Path, *, kill_after: int | None, delay: float = 0.0) -> list[int]:
    """Fork a training; kill it ``delay`` seconds after it has made ``kill_after`` updates. → its updates."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            train(method, model, out, writer)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    os.close(writer)
    steps: list[int] = []
    while kill_after is None or len(steps) < kill_after:
        select.select([reader], [], [])
        read = os.read(reader, 1)
        if not read:
            break
        steps.append(read[0])
    if kill_after is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        while read := os.read(reader, 1):
            steps.append(read[0])
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if kill_after is None and status != 0:
        raise SystemExit("the undisturbed training failed")
    return steps


def main() -> None:
    model, work, method, kills = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    draw = random.Random(method)
    whole = attempt(method, model, work / "whole", kill_after=None)
    cut = []
    for _ in range(kills):
        # Few updates and a short delay: progress is slow, and saving, loading and importing are hit too.
        cut.append(
            attempt(method, model, work / "cut", kill_after=draw.randint(0, 6), delay=draw.uniform(0, 0.3))
        )
    last = attempt(method, model, work / "cut", kill_after=None)
    print(json.dumps({"whole": whole, "cut": cut, "last": last}))


if __name__ == "__main__":
    main()
