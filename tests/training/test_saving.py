"""What is saved is proved before the first update, mended where it can be, and stops where cai stops."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "engines"))  # where the families are

import tiny_families
from tiny_families import FAMILIES
from tiny_models import CHATML
from training_rows import examples, pairs, prompt

from cai.chat.encoding import end_ids
from cai.chat.tokenizer_files import load_tokenizer
from cai.config.run_config import ModelConfig
from cai.config.train_config import (
    DPOConfig,
    GroupConfig,
    LoraConfig,
    PPOConfig,
    RewardModelConfig,
    SFTConfig,
)
from cai.engines.backend import open_engine
from cai.engines.model_files import stop_token_ids
from cai.rewards.reward import Scored
from cai.training.checkpoint import Workspace
from cai.training.dpo import train_dpo
from cai.training.reward_model import train_reward
from cai.training.rl.online import GroupJob, train_group
from cai.training.rl.ppo import PPOJob, train_ppo
from cai.training.saving import prove, require_generation_config, save, settle
from cai.training.sft import train_sft
from cai.training.updates.loop import load_language_model
from cai.values.errors import TrainingError
from cai.values.types import as_messages

MENDED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "temperature": (
        {"temperature": 0.6, "top_p": 0.9},
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
    ),
    "top_k": ({"top_k": 20}, {"do_sample": True, "top_k": 20}),
    "min_p": ({"min_p": 0.05}, {"do_sample": True, "min_p": 0.05}),
    "typical_p": ({"typical_p": 0.9}, {"do_sample": True}),
    "cutoffs": ({"epsilon_cutoff": 3e-4, "eta_cutoff": 3e-4}, {"do_sample": True, "eta_cutoff": 3e-4}),
    "greedy": ({"do_sample": False, "temperature": 0.6, "top_p": 0.9}, {"temperature": None, "top_p": None}),
    "zero": ({"temperature": 0.0}, {"temperature": None, "do_sample": False}),
    "zero, sampling": ({"do_sample": True, "temperature": 0.0, "top_p": 0.9}, {"top_p": None}),
    "beams": ({"early_stopping": True, "length_penalty": 0.8}, {"early_stopping": None}),
    "cache": ({"use_cache": False, "cache_implementation": "static"}, {"cache_implementation": None}),
    "outputs": ({"output_scores": True, "output_attentions": True}, {"output_scores": None}),
    "pad": ({"pad_token_id": -1}, {"pad_token_id": 1}),
}
REFUSED: dict[str, str] = {
    "early": json.dumps({"early_stopping": "soon"}),
    "tokens": json.dumps({"max_new_tokens": 0}),
    "cache": json.dumps({"cache_implementation": "sliding doors"}),
    "sequences": json.dumps({"num_return_sequences": 4}),
    "beams": json.dumps({"num_return_sequences": 4, "num_beams": 2}),
    "forced": json.dumps({"forced_eos_token_id": 3, "suppress_tokens": [3]}),
    "argument": json.dumps({"streamer": 1}),
    "json": "{",
    "list": "[]",
}


def with_generation(model: Path, folder: Path, text: str) -> Path:
    shutil.copytree(model, folder)
    (folder / "generation_config.json").write_text(text)
    return folder


def nothing_is_left(out: Path) -> bool:
    return not out.exists() and not out.with_name(out.name + ".partial").exists()


@pytest.mark.parametrize("name", MENDED)
def test_what_contradicts_itself_is_mended_and_means_the_same(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    broken, wanted = MENDED[name]
    folder = with_generation(tiny_model, tmp_path / "model", json.dumps(broken))
    model, tokenizer = load_language_model(str(folder)), load_tokenizer(folder)
    if name != "zero, sampling":  # which can be saved, and is an error for whoever generates with it
        with pytest.raises(ValueError, match="Fix these issues"):
            model.save_pretrained(tmp_path / "plain")  # what it came to after a whole training
    heard: list[str] = []
    out = tmp_path / "out"
    prove(model, tokenizer, str(folder), Workspace(out, "key"), heard.append)
    assert nothing_is_left(out) and len(heard) == 1 and str(folder) in heard[0]
    model.save_pretrained(out)
    saved = json.loads((out / "generation_config.json").read_text())
    assert {key: saved.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("name", REFUSED)
def test_what_transformers_does_not_read_is_named_with_its_remedy(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = with_generation(tiny_model, tmp_path / "model", REFUSED[name])
    with pytest.raises(TrainingError, match=r"generation_config\.json cannot be used.*delete the file"):
        load_language_model(str(folder))
    (folder / "generation_config.json").unlink()
    require_generation_config(str(folder))
    load_language_model(str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_can_be_saved_with_two_ends(name: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, GenerationConfig

    model, tokenizer = tiny_families.build(name), copy.deepcopy(tiny_families.tokenizer())
    tokenizer.eos_token = "</s>"
    prove(model, tokenizer, name, Workspace(tmp_path / "out", "key"), print)
    save(model, tokenizer, tmp_path / "saved")
    config, generation = (kind.from_pretrained(tmp_path / "saved") for kind in (AutoConfig, GenerationConfig))
    ends = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "</s>")}
    assert ends <= set(generation.eos_token_id)
    for part in (config, config.get_text_config()):
        assert getattr(part, "eos_token_id", generation.eos_token_id) == generation.eos_token_id


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
async def test_a_trained_mixture_of_experts_runs_in_batches(name: str, tmp_path: Path) -> None:
    """TRL turns its auxiliary loss on in the configuration, and such a model fails in padded batches."""
    base = tiny_families.save(name, tmp_path / "base")
    out = train_sft(base, examples(), SFTConfig(**BATCH), tmp_path / "out", 3).path
    assert json.loads((out / "config.json").read_text()).get("output_router_logits") in (False, None)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "output_router_logits": True}))
    for folder in (out, base):  # and a base model that says so
        engine = await open_engine(ModelConfig(name=str(folder), engine="transformers", dtype="float32"))
        await engine.close()


def test_whatever_else_cannot_be_saved_is_an_error_before_the_first_update(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = load_language_model(str(tiny_model)), load_tokenizer(tiny_model)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(tokenizer, "save_pretrained", full)
    words = "nothing is trained: OSError: No space left on device"
    with pytest.raises(TrainingError, match=words):
        prove(model, tokenizer, "base", Workspace(tmp_path / "out", "key"), print)
    assert nothing_is_left(tmp_path / "out")
    model.generation_config.num_return_sequences = 7
    with pytest.raises(TrainingError, match=r"base/generation_config\.json could not be saved"):
        settle(model, tokenizer, "base")


# --- every training ---------------------------------------------------------------------------

RL: dict[str, Any] = {
    "steps": 1, "prompts": 2, "max_tokens": 4, "learning_rate": 1e-3, "sampler": "transformers",
    "dtype": "float32", "save_steps": 1,
}  # fmt: skip
BATCH: dict[str, Any] = {"batch_size": 10, "learning_rate": 1e-3, "dtype": "float32", "save_steps": 1}
PROMPTS = [prompt(0), prompt(1)]


def flat(responses: Any) -> list[Scored]:
    return [Scored(float(len(r.text))) for r in responses]


def group(method: Any, model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    config = GroupConfig(**RL, group_size=2, micro_batch_size=2, lora=lora)
    return train_group(GroupJob(method, str(model), PROMPTS, flat, config, out, 3), **watch)


def ppo(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    config = PPOConfig(**RL, minibatches=1, micro_batch_size=2, lora=lora)
    return train_ppo(PPOJob(str(model), PROMPTS, flat, config, out, 3), **watch)


def sft(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    return train_sft(model, examples(), SFTConfig(**BATCH, lora=lora), out, 3, **watch)


def dpo(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    return train_dpo(model, pairs(), DPOConfig(**BATCH, lora=lora), out, 3, **watch)


def reward(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    return train_reward(model, pairs(), RewardModelConfig(**BATCH, lora=lora), out, 3, **watch)


def grpo(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    return group("grpo", model, out, lora, **watch)


def rloo(model: Path, out: Path, lora: LoraConfig | None, **watch: Any) -> Any:
    return group("rloo", model, out, lora, **watch)


def chatml_on_a_base(tiny_model: Path, folder: Path) -> Path:
    """A base model whose files all say ``</s>``, with a ChatML template and an old generation_config.json."""
    shutil.copytree(tiny_model, folder)
    tokenizer = load_tokenizer(folder)
    tokenizer.eos_token = "</s>"
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": tokenizer.eos_token_id}))
    old = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": tokenizer.eos_token_id}
    (folder / "generation_config.json").write_text(json.dumps(old))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoraConfig(r=2)], ids=["full", "lora"])
@pytest.mark.parametrize("train", [sft, dpo, grpo, rloo, ppo])
def test_a_trained_model_stops_where_its_template_ends_for_whoever_asks(
    train: Callable[..., Any], lora: LoraConfig | None, tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, pipeline

    base = chatml_on_a_base(tiny_model, tmp_path / "base")
    heard: list[str] = []
    out = tmp_path / "out"
    train(base, out, lora, say=heard.append)
    assert [line for line in heard if "do_sample=True" in line]
    tokenizer = load_tokenizer(out)
    end, text_end = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "</s>"))
    generation, config = (
        json.loads((out / name).read_text()) for name in ("generation_config.json", "config.json")
    )
    assert generation["eos_token_id"] == config["eos_token_id"]
    assert set(generation["eos_token_id"]) == {end, text_end} == {*end_ids(tokenizer), *stop_token_ids(out)}
    assert generation["temperature"] == 0.6 and generation["do_sample"] is True

    model: Any = AutoModelForCausalLM.from_pretrained(out)
    force_after(model, 3, end)
    ids = tokenizer.apply_chat_template(
        as_messages(PROMPTS[0].messages), add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    drawn = model.generate(ids, attention_mask=torch.ones_like(ids))[0, ids.shape[1] :].tolist()
    assert len(drawn) == 3 and drawn[-1] == end
    answered = pipeline("text-generation", model=model, tokenizer=tokenizer)(as_messages(PROMPTS[0].messages))
    said = answered[0]["generated_text"][-1]["content"]
    assert "<|im_end|>" not in said and len(tokenizer(said).input_ids) <= 4


def force_after(model: Any, count: int, token: int) -> None:
    """Make ``token`` certain as the ``count``-th that a generation draws, and impossible before it."""
    calls = 0

    def hook(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        nonlocal calls
        past = kwargs.get("past_key_values")
        calls = calls + 1 if past is not None and kwargs["input_ids"].shape[1] == 1 else 1
        output.logits[..., :] = 0.0
        output.logits[..., 5:20] = 50.0
        output.logits[..., :5] = -50.0
        output.logits[..., token] = 500.0 if calls >= count else -500.0
        return output

    model.register_forward_hook(hook, with_kwargs=True)


@pytest.mark.slow
@pytest.mark.parametrize("train", [sft, dpo, reward, grpo, rloo, ppo])
def test_every_training_proves_before_its_first_update_that_it_can_be_saved(
    train: Callable[..., Any], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedTokenizerFast

    def broken(*args: Any, **kwargs: Any) -> None:
        raise ValueError("not JSON serializable")

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", broken)
    seen: list[Any] = []
    with pytest.raises(TrainingError, match=r"could not be saved, so nothing is trained.*not JSON"):
        train(tiny_model, tmp_path / "out", None, progress=lambda *update: seen.append(update))
    assert not seen and nothing_is_left(tmp_path / "out")
