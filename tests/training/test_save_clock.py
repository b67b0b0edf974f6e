"""Checkpoints by updates and by minutes."""

from __future__ import annotations

import pytest

from cai.config.train_config import (
    DPOConfig,
    GroupConfig,
    OptimizerConfig,
    PPOConfig,
    RolloutConfig,
    SFTConfig,
)
from cai.training.save_clock import SaveClock


@pytest.mark.parametrize("config", [SFTConfig, DPOConfig, PPOConfig, GroupConfig])
def test_due_by_steps_and_by_time(config: type[OptimizerConfig | RolloutConfig]) -> None:
    now = [100.0]
    clock = SaveClock(config(save_steps=4), now=lambda: now[0])
    assert [step for step in range(1, 10) if clock.due(step)] == [4, 8]
    now[0] += 599.0
    assert not clock.due(9)
    now[0] += 1.0  # ten minutes
    assert clock.due(9) and clock.due(10)
    clock.saved()
    assert not clock.due(10) and clock.due(12)


def test_the_minutes_are_a_setting() -> None:
    now = [0.0]
    clock = SaveClock(PPOConfig(save_minutes=0.5), now=lambda: now[0])
    now[0] = 30.0
    assert clock.due(1)
