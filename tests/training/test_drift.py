"""A sampler that does not follow the weights stops every RL training, in words and before a score is paid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from training_rows import prompt

from cai.chat.tokenizer_files import load_tokenizer
from cai.config.train_config import GroupConfig, LoraConfig, PPOConfig
from cai.engines.samplers.sampler import Draw
from cai.engines.samplers.sampler_transformers import TransformersSampler
from cai.rewards.reward import Scored
from cai.training.rl import online, ppo
from cai.training.rl.drift import BOUNDS, require_following
from cai.training.rl.online import GroupJob, train_group
from cai.training.rl.ppo import PPOJob, train_ppo
from cai.training.updates.loop import load_language_model
from cai.values.errors import TrainingError

PROMPTS = [prompt(number) for number in range(4)]
RL: dict[str, Any] = {
    "steps": 3, "prompts": 4, "max_tokens": 8, "learning_rate": 3e-2, "sampler": "transformers",
    "dtype": "float32", "schedule": "constant", "max_kl": None, "max_length_ratio": None,
}  # fmt: skip


class Copying(TransformersSampler):
    """Draws from a copy of the model, to which ``sync`` hands the weights over, as vLLM's does."""

    def __init__(self, folder: Path, length: int, follows: bool) -> None:
        super().__init__(load_language_model(str(folder)), folder, length)
        self.follows = follows
        self.synced = 0

    def sync(self, model: Any) -> None:
        from cai.engines.samplers.sampler_vllm import checkpoint_weights

        self.synced += 1
        if self.follows:
            assert not self._model.load_state_dict(
                dict(checkpoint_weights(model)), strict=False
            ).unexpected_keys
            self._model.tie_weights()


def group(method: Any, model: Path, out: Path, score: Any, lora: LoraConfig | None) -> Any:
    config = GroupConfig(**RL, group_size=2, micro_batch_size=4, lora=lora)
    return train_group(GroupJob(method, str(model), PROMPTS, score, config, out, 3))


def grpo(*job: Any) -> Any:
    return group("grpo", *job)


def rloo(*job: Any) -> Any:
    return group("rloo", *job)


def ppo_(model: Path, out: Path, score: Any, lora: LoraConfig | None) -> Any:
    config = PPOConfig(**RL, minibatches=1, micro_batch_size=4, lora=lora)
    return train_ppo(PPOJob(str(model), PROMPTS, score, config, out, 3))


@pytest.fixture
def sampler(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[Copying]]:
    def install(follows: bool) -> list[Copying]:
        opened: list[Copying] = []

        def open_(kind: str, folder: Path, model: Any, longest: int, *_: Any, **__: Any) -> Copying:
            opened.append(Copying(folder, longest, follows))
            return opened[0]

        monkeypatch.setattr(online, "open_sampler", open_)
        monkeypatch.setattr(ppo, "open_sampler", open_)
        return opened

    return install


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoraConfig(r=4, alpha=32)], ids=["full", "lora"])
@pytest.mark.parametrize("train", [grpo, rloo, ppo_])
def test_a_sampler_that_follows_may_draw_and_one_that_does_not_stops_the_training(
    train: Any, lora: LoraConfig | None, sampler: Any, tiny_model: Path, tmp_path: Path
) -> None:
    asked: list[int] = []

    def score(responses: Sequence[Any]) -> list[Scored]:
        asked.append(len(responses))
        return [Scored(float(len(r.text))) for r in responses]

    opened = sampler(True)
    result = train(tiny_model, tmp_path / "follows", score, lora)
    assert result.steps == 3 == opened[0].synced == len(asked)
    assert all(figures["sampler_drift"] < 1e-4 for figures in result.history)

    asked.clear()
    opened = sampler(False)
    with pytest.raises(
        TrainingError, match=r"step \d: the sampler does not draw from.*sampler: transformers"
    ):
        train(tiny_model, tmp_path / "stays", score, lora)
    assert len(asked) == opened[0].synced - 1 > 0  # nothing is scored of the step that is refused
    assert not (tmp_path / "stays").exists()

    learned, opened = len(asked), sampler(True)
    assert train(tiny_model, tmp_path / "stays", score, lora).steps == 3
    assert opened[0].synced == 3 - learned == len(asked) - learned  # the steps before it are not drawn again


class Said:
    """A sampler that computes in ``dtype``; no more of it is asked here."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_each_number_format_has_its_bound(dtype: str, temperature: float, tiny_model: Path) -> None:
    model = load_language_model(str(tiny_model))
    ids, prompts = (7, 9, 11), [[20, 30, 40], [20, 30, 40, 50, 60]]
    exact = []
    for row in prompts:
        with torch.no_grad():
            logits = model(torch.tensor([[*row, *ids]])).logits[0, len(row) - 1 : -1] / temperature
        exact.append(logits.log_softmax(-1)[range(3), ids])
    bound = BOUNDS[getattr(torch, dtype)] / temperature

    def check(off: float) -> float:
        draws = [Draw(ids, tuple((row + off).tolist()), "length") for row in exact]
        sampler: Any = Said(dtype)
        return require_following(
            sampler, model, prompts, draws, temperature=temperature, dtype=torch.float32, step=0
        )

    assert check(0.0) < 1e-5 and check(0.9 * bound) == pytest.approx(0.9 * bound, rel=1e-3)
    for off in (1.1 * bound, -1.1 * bound, float("nan")):
        with pytest.raises(TrainingError, match=rf"step 1: .* {dtype} explains"):
            check(off)
    nothing: Any = [Said(dtype), model, [[20]], [Draw((), (), "stop")]]
    assert require_following(*nothing, temperature=1.0, dtype=torch.float32, step=0) == 0.0


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM")
def test_a_mixture_of_experts_in_vllm_follows_or_is_stopped(tiny_model: Path, tmp_path: Path) -> None:
    """Some versions of vLLM load the experts of a synced model wrongly, without an error."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    tokenizer = load_tokenizer(tiny_model)
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, moe_intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=32, num_experts=4,
        num_experts_per_tok=2, decoder_sparse_step=1, max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3MoeForCausalLM(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.12)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")

    def score(responses: Sequence[Any]) -> list[Scored]:
        return [Scored(float(len(r.text))) for r in responses]

    wanted = GroupConfig(**{**RL, "sampler": "vllm", "steps": 2}, group_size=2, micro_batch_size=4)
    job = GroupJob("grpo", str(tmp_path / "base"), PROMPTS, score, wanted, tmp_path / "out", 3)
    try:
        result = train_group(job)
    except TrainingError as error:
        assert "the sampler does not draw from the model in training" in str(error)
    else:
        assert all(figures["sampler_drift"] < BOUNDS[torch.float32] for figures in result.history)
