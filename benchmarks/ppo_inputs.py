"""What ``ppo_side_by_side.py`` trains on: models as folders, prompts as token ids, a reward to check against.

Each workload leaves in its folder ``sft`` and ``reward`` (float32), ``prompts.json`` and ``checks.json``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROMPTS = 480


def pocket(run: Path, out: Path) -> None:
    """Policy and reward of the pocket run in ``run``, which is made where there is none."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    if not (run / "checkpoints/reward/config.json").exists():
        cai = [sys.executable, "-m", "cai"]
        subprocess.run([*cai, "run", "--run", str(run), "--constitution", "harmless.yaml"], check=True)
        subprocess.run([*cai, "train", "reward", str(run)], check=True)
    for name, loader in (("sft", AutoModelForCausalLM), ("reward", AutoModelForSequenceClassification)):
        folder = run / "checkpoints" / name
        loader.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).save_pretrained(
            out / name
        )
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False).save_pretrained(out / name)
    _write(out, pocket_prompts("train", PROMPTS), ("I can't help with that.", "Yes."))


def ragged(run: Path, out: Path) -> None:
    """The pocket model's shape, taught random words: its responses end after 1 to 300 tokens, most early.

    Only the speed means something. ``run`` has no part in it.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from benchmarks.training_throughput import pocket_size_model
    from benchmarks.training_throughput import ragged as texts
    from cai.config.train_config import SFTConfig
    from cai.training.sft import train_sft

    examples, _ = texts(PROMPTS, seed=0)
    base = pocket_size_model(out / "base")
    train_sft(base, examples, SFTConfig(learning_rate=1e-3, epochs=2), out / "sft", seed=0)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        out / "sft", num_labels=1, dtype=torch.float32, trust_remote_code=False
    )
    model.save_pretrained(out / "reward")
    AutoTokenizer.from_pretrained(out / "sft", trust_remote_code=False).save_pretrained(out / "reward")
    _write(out, [example.prompt for example in examples], ("w1 w2 w3", "w4"))


def pocket_prompts(name: str, count: int) -> list[Any]:
    from cai.data.sources import read
    from cai.pocket import PROMPTS as FOLDER

    return read(str(Path(FOLDER) / f"{name}.jsonl"), count).prompts


def scores(out: Path, prompts: Sequence[Any], texts: Sequence[str]) -> list[float]:
    """The reward of each answer."""
    from cai.rewards.model import RewardModel
    from cai.values.types import Response

    asked = [Response(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    found = [scored.value for scored in asyncio.run(RewardModel(out / "reward").score(asked))]
    return [value for value in found if value is not None]


def _write(out: Path, prompts: Sequence[Any], answers: tuple[str, str]) -> None:
    """Prompts as ids, and the reward of a few conversations, by which TRL's side checks its own."""
    from transformers import AutoTokenizer

    from cai.chat import encoding
    from cai.values.types import as_messages

    tokenizer = AutoTokenizer.from_pretrained(out / "sft", trust_remote_code=False)
    rows = [
        {"id": p.id, "messages": as_messages(p.messages), "ids": encoding.encode(tokenizer, p.messages)}
        for p in prompts
    ]
    checks = []
    for prompt, text in zip(prompts[:8], answers * 4, strict=True):
        ids, response = encoding.encode_pair(tokenizer, prompt.messages, text)
        checks.append({"prompt": ids, "response": response, "score": scores(out, [prompt], [text])[0]})
    (out / "prompts.json").write_text(json.dumps(rows))
    (out / "checks.json").write_text(json.dumps(checks))
