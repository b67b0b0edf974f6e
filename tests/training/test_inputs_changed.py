"""A training that was interrupted and whose inputs then changed is the one that a fresh folder would hold."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from test_ppo import CONFIG, PROMPTS, distance
from test_train import assert_same_weights, dpo
from tiny_models import save_tiny_model

from cai.config.train_config import DPOConfig, GroupConfig, PPOConfig
from cai.rewards.function import FunctionReward
from cai.rewards.reward import Scored
from cai.training.result import TrainingStopped, TrainResult
from cai.training.rl.online import GroupJob, train_group
from cai.training.rl.ppo import PPOJob, train_ppo
from cai.values.types import Message, Prompt, Response

SHORT = "def f(prompts, responses):\n    return [-0.1 * len(r) for r in responses]\n"
LONG = "def f(prompts, responses):\n    return [+0.1 * len(r) for r in responses]\n"
PPO = CONFIG.model_copy(
    update={"prompts": 2, "epochs": 1, "minibatches": 1, "max_tokens": 4, "critic": "shared", "save_steps": 2}
)
GRPO = GroupConfig(
    steps=3, prompts=3, group_size=2, max_tokens=6, learning_rate=1e-3, sampler="transformers",
    dtype="float32", save_steps=2,
)  # fmt: skip


class Interrupted(Exception):
    """In the middle of a step, as a kill would be."""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its own sys.path, and one thread, which is faster for so small a model."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@contextmanager
def calls_until(count: int) -> Iterator[Callable[[], None]]:
    """A function that raises at its call number ``count``."""
    made: list[int] = []

    def call() -> None:
        made.append(1)
        if len(made) == count:
            raise Interrupted

    yield call


def train(
    method: str, out: Path, model: Path, file: Path, call: Callable[[], None] = lambda: None, **changed: Any
) -> TrainResult:
    """``changed``: settings, and ``seed``, ``prompts``."""
    reward = FunctionReward.load(f"{file}:f")

    def score(responses: Sequence[Response]) -> list[Scored]:
        call()
        return asyncio.run(reward.score(responses))

    seed, prompts = changed.pop("seed", 3), changed.pop("prompts", PROMPTS)
    base: PPOConfig | GroupConfig = PPO if method == "ppo" else GRPO
    config = base.model_copy(update=changed)
    if isinstance(config, PPOConfig):
        return train_ppo(PPOJob(str(model), prompts, score, config, out, seed, reward.fingerprint))
    assert isinstance(config, GroupConfig)
    return train_group(GroupJob("grpo", str(model), prompts, score, config, out, seed, reward.fingerprint))


CHANGES: dict[str, dict[str, Any]] = {
    "reward": {},
    "seed": {"seed": 4},
    "temperature": {"temperature": 0.7},
    "penalty": {"length_penalty": 0.1},
    "prompts": {"prompts": [*PROMPTS[1:], Prompt("p0", (Message("user", "Other"),))]},
}


@pytest.mark.parametrize(
    ("method", "change", "step"),
    [
        *(("ppo", change, 2) for change in CHANGES),  # before the first checkpoint
        ("ppo", "reward", 3),  # behind it
        pytest.param("grpo", "reward", 2, marks=pytest.mark.slow),
        pytest.param("grpo", "prompts", 3, marks=pytest.mark.slow),
    ],
)
def test_one_input_changed_after_an_interruption(
    method: str, change: str, step: int, tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "r.py"
    file.write_text(SHORT)
    with calls_until(step) as call, pytest.raises(Interrupted):
        train(method, tmp_path / "cut", tiny_model, file, call)
    assert list((tmp_path / "cut.partial").glob("rollouts-*/*.jsonl"))
    if change == "reward":
        file.write_text(LONG)
    again = train(method, tmp_path / "cut", tiny_model, file, **CHANGES[change])
    fresh = train(method, tmp_path / "fresh", tiny_model, file, **CHANGES[change])
    assert distance(again.path, fresh.path) == 0.0
    assert again.history == fresh.history
    rollouts = [sorted((out / "rollouts").iterdir()) for out in (again.path, fresh.path)]
    assert [f.read_bytes() for f in rollouts[0]] == [f.read_bytes() for f in rollouts[1]]


def test_another_base_model_after_an_interruption(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.py"
    file.write_text(SHORT)
    with calls_until(3) as call, pytest.raises(Interrupted):
        train("ppo", tmp_path / "cut", tiny_model, file, call)
    other = save_tiny_model(tmp_path / "other", seed=1)
    again = train("ppo", tmp_path / "cut", other, file)
    fresh = train("ppo", tmp_path / "fresh", other, file)
    assert distance(again.path, fresh.path) == 0.0 and again.history == fresh.history


def _first_rollouts(partial: Path) -> Path:
    return next(partial.glob("rollouts-*/00000000.0.jsonl"))


def _last_rollouts(partial: Path) -> Path:
    return next(partial.glob("rollouts-*/00000002.0.jsonl"))


def _state(partial: Path) -> Path:
    return next(partial.glob("step-00000002/state.safetensors"))


def _halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _junk(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("harm", [_halve, _junk], ids=["torn", "junk"])
@pytest.mark.parametrize("which", [_first_rollouts, _last_rollouts, _state])
def test_damage_is_made_good(
    which: Callable[[Path], Path],
    harm: Callable[[Path], None],
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of what a training keeps while it is not finished; with a line on standard error."""
    file = tmp_path / "r.py"
    file.write_text(SHORT)

    with calls_until(4) as call, pytest.raises(Interrupted):
        train("ppo", tmp_path / "cut", tiny_model, file, call, steps=4)
    harmed = which(tmp_path / "cut.partial")
    harm(harmed)
    capsys.readouterr()
    again = train("ppo", tmp_path / "cut", tiny_model, file, steps=4)
    said = [line for line in capsys.readouterr().err.splitlines() if "is damaged" in line]
    assert len(said) == 1 and str(harmed if harmed.suffix == ".jsonl" else harmed.parent) in said[0]
    whole = train("ppo", tmp_path / "whole", tiny_model, file, steps=4)
    assert distance(again.path, whole.path) == 0.0 and again.history == whole.history


def test_a_damaged_policy_is_trained_again(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.py"
    file.write_text(SHORT)
    first = train("ppo", tmp_path / "out", tiny_model, file, steps=1)
    before = (first.path / "model.safetensors").read_bytes()
    _junk(first.path / "model.safetensors")
    again = train("ppo", tmp_path / "out", tiny_model, file, steps=1)
    assert not again.reused and (first.path / "model.safetensors").read_bytes() == before
    assert "model.safetensors does not hold what was written; it is made again" in capsys.readouterr().err


def test_minutes_save_too(tiny_model: Path, tmp_path: Path) -> None:
    """And change no key: what was saved is gone on from with another setting."""
    file = tmp_path / "r.py"
    file.write_text(SHORT)
    with calls_until(3) as call, pytest.raises(Interrupted):
        train("ppo", tmp_path / "out", tiny_model, file, call, save_steps=100, save_minutes=1e-9)
    steps = sorted(folder.name for folder in (tmp_path / "out.partial").glob("step-*"))
    assert steps == ["step-00000001", "step-00000002"]
    result = train("ppo", tmp_path / "out", tiny_model, file)
    assert len(result.history) == 3
    assert json.loads((result.path / "training.json").read_text())["key"]


@pytest.mark.slow
def test_minutes_save_too_in_groups(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.py"
    file.write_text(SHORT)
    with calls_until(3) as call, pytest.raises(Interrupted):
        train("grpo", tmp_path / "out", tiny_model, file, call, save_steps=100, save_minutes=1e-9)
    steps = sorted(folder.name for folder in (tmp_path / "out.partial").glob("step-*"))
    assert steps == ["step-00000001", "step-00000002"]


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_halve, _junk, lambda file: file.write_bytes(b"")])
def test_a_damaged_reference_is_computed_again(
    harm: Callable[[Path], None], tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DPOConfig(batch_size=8, micro_batch_size=4, learning_rate=1e-3, dtype="float32")
    with pytest.raises(TrainingStopped):
        dpo(tiny_model, tmp_path / "cut", config, should_stop=lambda: True)
    file = next((tmp_path / "cut.partial").glob("reference-*/logprobs.safetensors"))
    harm(file)
    again = dpo(tiny_model, tmp_path / "cut", config)
    assert f"{file.parent} is damaged: logprobs.safetensors" in capsys.readouterr().err
    whole = dpo(tiny_model, tmp_path / "whole", config)
    assert again.history == whole.history
    assert_same_weights(tmp_path / "cut", tmp_path / "whole")
