"""LoRA that peft does not take is refused before anything is done; rows beyond a rotary border are told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "engines"))  # where the families are

import tiny_families
from training_rows import examples, pairs, prompt

from cai.chat.encoding import encode
from cai.config.train_config import (
    DPOConfig,
    GroupConfig,
    LoraConfig,
    PPOConfig,
    RewardModelConfig,
    SFTConfig,
)
from cai.rewards.reward import Scored
from cai.training.dpo import train_dpo
from cai.training.examples import PairRow
from cai.training.reward_model import train_reward
from cai.training.rl.online import GroupJob, train_group
from cai.training.rl.ppo import PPOJob, train_ppo
from cai.training.sft import train_sft
from cai.training.updates.borders import announce_border, announce_pairs
from cai.values.errors import TrainingError

BATCH: dict[str, Any] = {"batch_size": 10, "learning_rate": 1e-3, "dtype": "float32"}
RL: dict[str, Any] = {
    "steps": 1, "prompts": 2, "max_tokens": 4, "learning_rate": 1e-3, "sampler": "transformers",
    "dtype": "float32",
}  # fmt: skip
PROMPTS = [prompt(0), prompt(1)]


def flat(responses: Any) -> list[Scored]:
    return [Scored(float(len(r.text))) for r in responses]


def sft(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    return train_sft(model, examples(), SFTConfig(**BATCH, lora=lora), out, 3, **watch)


def dpo(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    return train_dpo(model, pairs(), DPOConfig(**BATCH, lora=lora), out, 3, **watch)


def reward(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    return train_reward(model, pairs(), RewardModelConfig(**BATCH, lora=lora), out, 3, **watch)


def grpo(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    config = GroupConfig(**RL, group_size=2, micro_batch_size=2, lora=lora)
    return train_group(GroupJob("grpo", str(model), PROMPTS, flat, config, out, 3), **watch)


def ppo(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    config = PPOConfig(**RL, minibatches=1, micro_batch_size=2, lora=lora)
    return train_ppo(PPOJob(str(model), PROMPTS, flat, config, out, 3), **watch)


def nothing_is_left(out: Path) -> bool:
    return not out.exists() and not list(out.parent.glob(f"{out.name}.partial/reference*"))


@pytest.mark.parametrize("train", [sft, dpo, reward, grpo, ppo])
def test_layers_that_are_not_there_are_refused_with_those_that_are(
    train: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    words = r"LoRA on c_attn can't be put on .*nothing is trained: .*target_modules: \[down_proj, .*q_proj"
    with pytest.raises(TrainingError, match=words):
        train(tiny_model, tmp_path / "out", LoraConfig(r=2, target_modules=["c_attn"]))
    assert nothing_is_left(tmp_path / "out")


@pytest.mark.parametrize("train", [sft, grpo, ppo])
def test_state_space_models_take_lora_where_peft_does(train: Callable[..., Any], tmp_path: Path) -> None:
    """peft takes none on the out_proj of Mamba, which "all-linear" includes."""
    model = tiny_families.save("mamba", tmp_path / "model")
    with pytest.raises(TrainingError, match=r"out_proj.*target_modules: \[dt_proj, in_proj, x_proj\]"):
        train(model, tmp_path / "out", LoraConfig(r=2))
    assert nothing_is_left(tmp_path / "out")
    if train is sft:
        assert sft(model, tmp_path / "out", LoraConfig(r=2, target_modules=["in_proj", "x_proj"])).steps == 2


@pytest.mark.parametrize(
    ("family", "router"), [("llama4_text", "Llama4Router"), ("phimoe", "PhimoeTopKRouter")]
)
def test_a_router_takes_no_adapter_and_the_layers_beside_it_do(
    family: str, router: str, tmp_path: Path
) -> None:
    model = tiny_families.save(family, tmp_path / "model")
    words = rf"{router} gives more.*target_modules: \[(?!.*router).*q_proj"
    with pytest.raises(TrainingError, match=words):
        sft(model, tmp_path / "out", LoraConfig(r=2))
    assert nothing_is_left(tmp_path / "out")
    assert sft(model, tmp_path / "out", LoraConfig(r=2, target_modules=["q_proj", "v_proj"])).steps == 2


ROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [7.0] * 4, "rope_theta": 1e4}


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("train", [sft, dpo, reward])
def test_rows_on_both_sides_of_a_rotary_border_are_read_apart(
    train: Callable[..., Any], grouped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses are those of rows that are read one by one."""
    with tiny_families.changed("phi3", rope_parameters=ROPE, original_max_position_embeddings=42):
        model = tiny_families.save("phi3", tmp_path / "model")
    found = []
    for size in (1, 10):
        monkeypatch.setitem(BATCH, "micro_batch_size", size)
        monkeypatch.setitem(BATCH, "group_by_length", grouped)
        found.append([step["loss"] for step in train(model, tmp_path / f"out-{size}", None).history])
    assert found[0] == pytest.approx(found[1], abs=2e-5)


@pytest.mark.parametrize("train", [dpo, grpo, ppo])
def test_what_stands_on_both_sides_of_a_rotary_border_is_counted(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    heard: dict[int, list[str]] = {}
    asked = max(len(encode(tiny_families.tokenizer(), task.messages)) for task in PROMPTS)
    near = asked if train in (grpo, ppo) else 42  # between the answers of a pair
    for border in (near, 500):
        with tiny_families.changed("phi3", rope_parameters=ROPE, original_max_position_embeddings=border):
            model = tiny_families.save("phi3", tmp_path / str(border))
        heard[border] = []
        with suppress(TrainingError):  # a response that passes the border was drawn with both: drift.py
            train(model, tmp_path / f"out-{border}", None, say=heard[border].append)
    told = {border: [line for line in lines if "longrope" in line] for border, lines in heard.items()}
    assert len(told[near]) == 1 and f"longer than {near} tokens" in told[near][0] and not told[500]


def test_the_numbers_of_rows_are_those_of_the_rows() -> None:
    with tiny_families.changed("phi3", rope_parameters=ROPE, original_max_position_embeddings=64):
        config = tiny_families.config_of("phi3")
    heard: list[str] = []
    lengths = [(64, 65), (65, 64), (66, 65), (10, 64), (1, 90)]
    rows = [PairRow([0], [1] * (a - 1), [1] * (b - 1), 1.0, 1.0) for a, b in lengths]
    announce_pairs(config, rows, heard.append)
    announce_border(config, [50, 60, 70], heard.append, growth=10)
    assert heard[0].startswith("of 3 pairs one answer is longer than 64 tokens and the other shorter")
    assert heard[1].startswith("2 rows can become longer than 64 tokens and 2 begin shorter")
    announce_pairs(config, rows[2:4], heard.append)
    announce_border(config, [10, 20], heard.append, growth=10)
    announce_pairs(tiny_families.config_of("llama"), rows, heard.append)
    announce_border(tiny_families.config_of("llama"), [1, 1000], heard.append, growth=10)
    assert len(heard) == 2
