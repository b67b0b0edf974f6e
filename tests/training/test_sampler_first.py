"""On a GPU vLLM starts before the learner is built, on a CPU after: told by stubs of the two builders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny_model

from cai.config.train_config import GroupConfig, PPOConfig
from cai.engines.samplers import opening, sampler_auto, sampler_vllm
from cai.engines.samplers.opening import open_early, open_sampler
from cai.engines.samplers.sampler_transformers import TransformersSampler
from cai.training.rl import online, ppo
from cai.training.rl.online import GroupJob, train_group
from cai.training.rl.ppo import PPOJob, train_ppo
from cai.values.errors import EngineError
from cai.values.types import Message, Prompt

PROMPTS = [Prompt("p", (Message("user", "What is this?"),))]


class Enough(Exception):
    """The order is known."""


class Stub:
    """vLLM's sampler, which notes that it was built and closed, and with which arguments."""

    order: list[str]
    given: Any

    def __init__(self, folder: Path, dtype: str, longest: int | None, vllm: Any) -> None:
        self.order.append("sampler")
        self.given = vllm

    def close(self) -> None:
        self.order.append("closed")


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    stub = type("Stub", (Stub,), {"order": found})
    monkeypatch.setattr(sampler_vllm, "VLLMSampler", stub)
    monkeypatch.setattr(sampler_auto, "VLLMSampler", stub)
    monkeypatch.setattr(opening, "sampler_name", lambda kind, processes=1: "vllm")
    return found


def on(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    monkeypatch.setattr(opening, "has_gpu", lambda: gpu)
    monkeypatch.setattr(opening, "is_cpu_build", lambda: not gpu)


def training(method: str, folder: Path, out: Path) -> Callable[[], Any]:
    share = {"gpu_memory_utilization": 0.3}
    if method == "ppo":
        return lambda: train_ppo(
            PPOJob(str(folder), PROMPTS, lambda r: [], PPOConfig(), out, 0, vllm=share), say=lambda line: None
        )
    job = GroupJob(
        "grpo" if method == "grpo" else "rloo",
        str(folder),
        PROMPTS,
        lambda r: [],
        GroupConfig(),
        out,
        0,
        vllm=share,
    )
    return lambda: train_group(job, say=lambda line: None)


@pytest.mark.parametrize("method", ["ppo", "grpo", "rloo"])
@pytest.mark.parametrize("gpu", [True, False])
def test_which_is_built_first(
    method: str, gpu: bool, order: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, gpu)

    def learner(*args: Any, **options: Any) -> Any:
        order.append("learner")
        raise Enough

    monkeypatch.setattr(ppo, "_learner", learner)
    monkeypatch.setattr(online, "_trainer", learner)
    with pytest.raises(Enough):
        training(method, save_tiny_model(tmp_path / "tiny"), tmp_path / "out")()
    assert order == (["sampler", "learner", "closed"] if gpu else ["learner"])


@pytest.mark.parametrize("kind", ["auto", "vllm"])
def test_what_was_started_early_draws(
    kind: Any, order: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, True)
    early = open_early(kind, tmp_path, 64, vllm={"gpu_memory_utilization": 0.3})
    assert early.sampler is not None and early.sampler.given == {"gpu_memory_utilization": 0.3}
    sampler = open_sampler(kind, tmp_path, None, 64, early=early)
    assert order == ["sampler"]  # once
    sampler.close()
    assert order == ["sampler", "closed"]


def test_where_vllm_cannot_start_transformers_draws_and_nobody_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, True)
    monkeypatch.setattr(opening, "sampler_name", lambda kind, processes=1: "vllm")
    tried: list[int] = []

    def fails(*args: Any) -> Any:
        tried.append(1)
        raise EngineError("no room")

    monkeypatch.setattr(sampler_vllm, "VLLMSampler", fails)
    monkeypatch.setattr(sampler_auto, "VLLMSampler", fails)
    folder = save_tiny_model(tmp_path / "tiny")
    early = open_early("auto", folder, 64)
    assert isinstance(open_sampler("auto", folder, object(), 64, early=early)._sampler, TransformersSampler)
    assert tried == [1]
    with pytest.raises(EngineError, match="no room"):
        open_early("vllm", folder, 64)


def test_a_user_s_share_or_the_plan_s_replaces_the_usual_cache(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny")
    arguments = sampler_vllm._arguments
    assert "kv_cache_memory_bytes" in arguments(folder, "auto", 64, True, {})
    assert "kv_cache_memory_bytes" not in arguments(folder, "auto", 64, True, {"gpu_memory_utilization": 0.3})
    planned = {"gpu_memory_utilization": 0.3, "kv_cache_memory_bytes": 77}
    assert arguments(folder, "auto", 64, True, planned)["kv_cache_memory_bytes"] == 77
    assert arguments(folder, "auto", 64, False, {}) == arguments(
        folder, "auto", 64, False, {"max_num_seqs": 256}
    )
