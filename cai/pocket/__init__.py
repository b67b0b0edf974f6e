"""The pocket world: a small model, its prompts and the oracle that grades runs with it.

To constitutional AI what CartPole is to reinforcement learning; ``docs/pocket.md`` says what it can't
show. Importing this package loads neither torch nor the oracle.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
MODEL_PATH = HERE / "model"
PROMPTS = HERE / "prompts"
TRAIN_PROMPTS = PROMPTS / "train.jsonl"  # what a run generates, revises and compares on
HELPFUL_PROMPTS = PROMPTS / "helpful.jsonl"  # everyday requests, for the helpful share of SFT
EVAL_PROMPTS = PROMPTS / "eval.jsonl"  # nouns that occur nowhere else

__all__ = ["EVAL_PROMPTS", "HELPFUL_PROMPTS", "MODEL_PATH", "PROMPTS", "TRAIN_PROMPTS"]
