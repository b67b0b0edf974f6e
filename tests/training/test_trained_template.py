"""What a training saves as the chat template, what it says of it, and the tokenizers that it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import TEMPLATES
from training_rows import examples, pairs, prompt

from cai.chat.encoding import encode, stop_strings
from cai.chat.tokenizer_files import load_tokenizer
from cai.config.train_config import DPOConfig, GroupConfig, PPOConfig, RewardModelConfig, SFTConfig
from cai.rewards.reward import Scored
from cai.training.dpo import train_dpo
from cai.training.reward_model import train_reward
from cai.training.rl.online import GroupJob, train_group
from cai.training.rl.ppo import PPOJob, train_ppo
from cai.training.sft import train_sft
from cai.values.errors import UsageError
from cai.values.types import as_messages

RL: dict[str, Any] = {
    "steps": 1,
    "prompts": 2,
    "max_tokens": 4,
    "learning_rate": 1e-3,
    "sampler": "transformers",
    "dtype": "float32",
}
PROMPTS = [prompt(0), prompt(1)]


def flat(responses: Any) -> list[Scored]:
    return [Scored(float(len(r.text))) for r in responses]


def grpo(model: Path, out: Path, say: Any) -> Any:
    config = GroupConfig(**RL, group_size=2, micro_batch_size=2)
    return train_group(GroupJob("grpo", str(model), PROMPTS, flat, config, out, 3), say=say)


def ppo(model: Path, out: Path, say: Any) -> Any:
    config = PPOConfig(**RL, minibatches=1, micro_batch_size=2)
    return train_ppo(PPOJob(str(model), PROMPTS, flat, config, out, 3), say=say)


BATCH: dict[str, Any] = {"batch_size": 20, "learning_rate": 1e-3, "dtype": "float32"}
TRAININGS: dict[str, Callable[[Path, Path, Any], Any]] = {
    "sft": lambda model, out, say: train_sft(model, examples(), SFTConfig(**BATCH), out, seed=3, say=say),
    "dpo": lambda model, out, say: train_dpo(model, pairs(), DPOConfig(**BATCH), out, seed=3, say=say),
    "reward": lambda model, out, say: train_reward(
        model, pairs(), RewardModelConfig(**BATCH), out, seed=3, say=say
    ),
    "grpo": grpo,
    "ppo": ppo,
}
each = pytest.mark.parametrize("train", TRAININGS.values(), ids=list(TRAININGS))


def with_template(model: Path, folder: Path, template: str | None) -> Path:
    shutil.copytree(model, folder)
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    return folder


@each
def test_a_padding_token_without_an_embedding_is_refused_in_words(
    train: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = load_tokenizer(model)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(model)
    known = json.loads((model / "config.json").read_text())["vocab_size"]
    words = rf"has {len(tokenizer)} tokens and the model there knows {known}: they do not belong together"
    with pytest.raises(UsageError, match=words):
        train(model, tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "words"), [("plain", "the dialogue form"), ("thinking", "no thinking"), ("chatml", "")]
)
@each
def test_the_saved_template_prints_what_was_trained(
    train: Callable[..., Any], family: str, words: str, tiny_model: Path, tmp_path: Path
) -> None:
    model = with_template(tiny_model, tmp_path / "model", TEMPLATES[family])
    heard: list[str] = []
    train(model, tmp_path / "out", heard.append)
    told = [line for line in heard if line.startswith(f"chat template of {model}")]
    assert len(told) == bool(words) and all(words in line for line in told)
    before, after = load_tokenizer(model), load_tokenizer(tmp_path / "out")
    for task in PROMPTS:
        asked = after.apply_chat_template(
            as_messages(task.messages), add_generation_prompt=True, return_dict=False
        )
        assert asked == encode(before, task.messages) == encode(after, task.messages)
    assert stop_strings(before) == stop_strings(after)
