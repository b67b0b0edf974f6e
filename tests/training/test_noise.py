"""What a checkpoint says of dropout and jitter is off in every training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).parents[1] / "engines"))  # where the families are

import tiny_families
from tiny_families import FAMILIES

from cai.training.noise import without_noise


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "diffllama"])  # it refuses dropout
def test_a_pass_in_training_is_a_pass_in_evaluation(name):
    model = noisy(name)
    without_noise(model)
    ids = torch.randint(5, 60, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
        assert torch.allclose(model.train()(input_ids=ids).logits, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon", "gptj", "mixtral"])
def test_without_it_every_pass_is_another(name):
    model, ids = noisy(name), torch.arange(5, 29)[None]
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
        assert not torch.allclose(model.train()(input_ids=ids).logits, expected, atol=1e-5)


def noisy(name):
    """A model whose configuration sets every rate of noise that it knows."""
    config = tiny_families.config_of(name)
    for key, value in vars(config.get_text_config()).items():
        if isinstance(value, float | int) and not isinstance(value, bool) and is_a_rate(key):
            setattr(config.get_text_config(), key, 0.3)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).float().requires_grad_(False)


def is_a_rate(key):
    return "dropout" in key or "jitter" in key or key.endswith("pdrop")
