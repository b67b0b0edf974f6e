"""How far a row's numbers in a batch are from those of the row alone, in nats or points, for a family.

The definition is a plain forward pass over one row: no batch, no padding, no cache. Rows are ragged and begin
alike; windows and chunks are shorter than they are.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import tiny_families
import torch
from torch import nn

from cai.config.run_config import ModelConfig
from cai.config.train_config import PPOConfig
from cai.engines.backend import open_engine
from cai.engines.local.forward import CausalModel
from cai.rewards.model import end_rewards
from cai.training.device import settings
from cai.training.rl.actors import Actors, backbone
from cai.training.updates.batches import padded
from cai.training.updates.scoring import completion_logprobs
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Sampling

CLOSE = 1e-4
STEPS = 20  # more than a window holds

_draw = random.Random(7)


def tokens(count: int) -> list[int]:
    return [_draw.randrange(20, 300) for _ in range(count)]


BEGINNING = tokens(40)
ALIKE = [BEGINNING + tokens(count) for count in (3, 30, 9, 9, 17)]
UNLIKE = [tokens(count) for count in (20, 45, 33, 33, 70)]
FOLLOWING = [tokens(5) for _ in range(STEPS)]
PAIRS = [(tokens(a), tokens(b)) for a, b in ((5, 3), (40, 21), (17, 30), (33, 2))]
TOLD = " The quick brown fox jumps over the lazy dog, and nobody minds it at all. Please consider it."
TEXTS = [TOLD + rest for rest in (" No.", " What is this? Hello world! Yes.", "")]


def logits_gap(model: CausalModel, rows: list[list[int]]) -> float:
    """Of log-probabilities: after the prompts, at a step, after rows have gone, and at the last step."""
    rows, alive = [list(row) for row in rows], list(range(len(rows)))
    logits, state = model.prompts(rows, keep=3)
    gaps = [_gap(together, model.alone(row, keep=3)) for row, together in zip(rows, logits, strict=True)]
    for step, drawn in enumerate(FOLLOWING):
        if step == 6:
            state.keep(torch.tensor([0, 2, 4]))
            alive = [0, 2, 4]
        logits = model.step(torch.tensor([drawn[place] for place in alive]), state)
        for place in alive:
            rows[place].append(drawn[place])
        if step in {0, 6, STEPS - 1}:
            gaps += [
                _gap(together[None], model.alone(rows[place]))
                for place, together in zip(alive, logits, strict=True)
            ]
    return max(gaps)


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.log_softmax(-1) - other.log_softmax(-1)).abs().max())


async def engine_gap(folder: Path) -> tuple[float, int]:
    """Largest difference of ``choose``, and how many answers of ``complete`` differ, batch against alone."""
    engine = await open_engine(ModelConfig(name=str(folder), engine="transformers", dtype="float32"))
    asked = [
        CompletionRequest((Message("user", text),), Sampling(1.0, max_tokens=4 + 6 * i), i)
        for i, text in enumerate(TEXTS)
    ]
    picked = [ChoiceRequest((Message("user", text),), ("A", "B"), "The answer is: (") for text in TEXTS]
    try:
        answers = await asyncio.gather(*map(engine.complete, asked))
        choices = await asyncio.gather(*map(engine.choose, picked))
        other = [await engine.complete(request) for request in asked]
        alone = [await engine.choose(request) for request in picked]
    finally:
        await engine.close()
    both = zip(choices, alone, strict=True)
    gap = max(abs(a - b) for one, two in both for a, b in zip(one.logprobs, two.logprobs, strict=True))
    return gap, sum(a != b for a, b in zip(answers, other, strict=True))


@torch.inference_mode()
def training_gap(model: Any) -> float:
    """Of log P(completion) per token, as SFT and DPO read it."""
    together = completion_logprobs(model, padded(PAIRS, 1))
    gaps = []
    for (prompt, completion), found in zip(PAIRS, together, strict=True):
        logits = model(torch.tensor([prompt + completion]), use_cache=False).logits[0]
        logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
        exact = logprobs[range(len(completion)), completion].sum()
        gaps.append(float((found - exact).abs()) / len(completion))
    return max(gaps)


def ppo_gap(model: Any) -> float:
    """Of log π and V of the response tokens, as PPO's networks read them."""
    device = settings(PPOConfig(dtype="float32"), 1)
    head = nn.Linear(model.config.get_text_config().hidden_size, 1)
    actors = Actors(model, model, backbone(model), head, device, shared=False)
    together = actors.read(padded(PAIRS, 1), 1.0)
    alone = [actors.read(padded([pair], 1), 1.0) for pair in PAIRS]
    return max(
        float((whole - torch.cat([part[i] for part in alone])).abs().max())
        for i, whole in enumerate(together)
    )


@torch.inference_mode()
def reward_gap(name: str) -> float | None:
    """Of a reward; None where transformers has no sequence classification for the family."""
    model = tiny_families.build_classifier(name)
    if model is None:
        return None
    batches = [padded(PAIRS, 1), *(padded([pair], 1) for pair in PAIRS)]
    together, *alone = (end_rewards(model, batch["ids"], batch["attention"]) for batch in batches)
    return float((together - torch.cat(alone)).abs().max())
