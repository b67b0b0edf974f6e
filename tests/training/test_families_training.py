"""In a batch padded on the right a row's numbers are those of the row alone, in training of every family."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "engines"))  # where the families are

import tiny_families
from family_gaps import CLOSE, ppo_gap, reward_gap, training_gap
from tiny_families import FAMILIES

from cai.training.device import Device, use_fast_attention


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", FAMILIES)
def test_log_probabilities_values_and_rewards(name):
    model = tiny_families.build(name)
    assert training_gap(model) < CLOSE
    assert ppo_gap(model) < CLOSE
    assert (reward_gap(name) or 0.0) < CLOSE
    use_fast_attention(model, Device("cpu", torch.bfloat16, False), 8, 100)  # knows models without attention
    assert training_gap(model) < CLOSE
