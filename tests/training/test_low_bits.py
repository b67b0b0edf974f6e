"""8-bit Adam and 4-bit base models: refused where they cannot be had, and no other training unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_tiny_model

from cai.config.settings import resolve
from cai.config.train_config import DPOConfig, GroupConfig, LoraConfig, PPOConfig, SFTConfig, named_settings
from cai.pipeline import launch
from cai.training.rl.ppo_state import _placed
from cai.training.updates import low_bits
from cai.training.updates.low_bits import adam, drawn_by, merged, regrafted, require_low_bits, weights_of
from cai.values.errors import UsageError

FOUR = LoraConfig(r=4, quantize="4bit")


@pytest.mark.parametrize(
    ("section", "config"),
    [
        ("sft", SFTConfig(optimizer="adamw_8bit")),
        ("dpo", DPOConfig(lora=FOUR)),
        ("ppo", PPOConfig(optimizer="adamw_8bit")),
        ("grpo", GroupConfig(lora=FOUR)),
    ],
)
def test_without_a_gpu_or_the_library_it_is_refused(
    section: str, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_bits, "has_gpu", lambda: False)
    with pytest.raises(UsageError, match=rf"{section}\.(optimizer|lora\.quantize): .* needs a CUDA GPU"):
        require_low_bits(config, section)
    monkeypatch.setattr(low_bits, "has_gpu", lambda: True)
    monkeypatch.setattr(low_bits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'cai\[bitsandbytes\]'"):
        require_low_bits(config, section)
    monkeypatch.setattr(low_bits.importlib.util, "find_spec", lambda name: object())
    require_low_bits(config, section)


def test_a_run_is_refused_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_bits, "has_gpu", lambda: False)
    for setting in ("sft.optimizer=adamw_8bit", "dpo.lora={quantize: 4bit}"):
        with pytest.raises(UsageError, match="needs a CUDA GPU"):
            launch.check(resolve(None, [setting], {}, {}))
    launch.check(resolve(None, ["ppo.optimizer=adamw_8bit"], {}, {}))  # of a method that is not the run's


def test_four_bits_are_handed_to_no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_bits, "has_gpu", lambda: True)
    monkeypatch.setattr(low_bits.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UsageError, match=r"grpo\.sampler: vllm cannot be given"):
        require_low_bits(GroupConfig(lora=FOUR, sampler="vllm"), "grpo")
    assert drawn_by(GroupConfig(lora=FOUR)) == "transformers"
    assert drawn_by(GroupConfig(lora=LoraConfig())) == "auto"


def test_what_was_not_asked_for_names_no_training() -> None:
    for config in (SFTConfig(lora=LoraConfig()), PPOConfig(lora=LoraConfig()), SFTConfig()):
        named = named_settings(config, set())
        assert "optimizer" not in named and "quantize" not in (named["lora"] or {})
    named = named_settings(SFTConfig(lora=FOUR, optimizer="adamw_8bit"), set())
    assert (named["optimizer"], named["lora"]["quantize"]) == ("adamw_8bit", "4bit")


def test_the_base_is_loaded_as_it_is_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    half = torch.bfloat16
    assert weights_of(SFTConfig(lora=LoraConfig()), half) == {"dtype": torch.float32}  # on a CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert weights_of(SFTConfig(), half) == {"dtype": torch.float32}
    assert weights_of(SFTConfig(lora=LoraConfig()), half) == {"dtype": half}


def test_an_adapter_is_regrafted_as_it_would_be_merged(tmp_path: Path) -> None:
    from peft import LoraConfig as Peft
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    folder = save_tiny_model(tmp_path / "tiny")

    def plain() -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    settings = Peft(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model: Any = get_peft_model(plain(), settings)
    model.add_adapter("critic", settings)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01 if weight.requires_grad else 0.0)
    found = regrafted(model, plain()).state_dict()
    wanted = merged(model, plain).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)
    assert any(not torch.equal(found[name], value) for name, value in plain().state_dict().items())


def test_ppo_s_optimizer_and_its_state() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    plain = adam(PPOConfig(), [{"params": [weight]}], eps=1e-5)
    assert isinstance(plain, torch.optim.AdamW) and plain.defaults["eps"] == 1e-5
    step = torch.tensor(4.0)
    assert _placed("step", step, weight, plain) is step
    assert _placed("step", step, weight, torch.optim.SGD([weight])) == 4
