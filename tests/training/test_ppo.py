"""PPO on tiny models: exactness of the first update, invariances, a bandit with a known optimum, resume."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cai.config.train_config import LoraConfig, PPOConfig
from cai.rewards.reward import Scored
from cai.training.result import TrainingStopped
from cai.training.rl.actors import load_actors
from cai.training.rl.ppo import PPOJob, train_ppo, tripped
from cai.training.updates.batches import padded
from cai.values.errors import TrainingError
from cai.values.types import Message, Prompt, Response

PROMPTS = [
    Prompt(f"p{i}", (Message("user", text),))
    for i, text in enumerate(
        ("Hello", "What is this?", "Be kind and honest, please, with the lazy dog. " * 3, "Yes or no", "Hm")
    )
]
CONFIG = PPOConfig(
    steps=3,
    prompts=6,
    epochs=2,
    minibatches=2,
    micro_batch_size=2,
    max_tokens=6,
    learning_rate=1e-3,
    sampler="transformers",
    dtype="float32",
    save_steps=1,
)


def shortness(responses: Sequence[Response]) -> list[Scored]:
    return [Scored(-0.1 * len(r.text)) for r in responses]


def job(model: Path, out: Path, config: PPOConfig = CONFIG, score=shortness) -> PPOJob:
    return PPOJob(str(model), PROMPTS, score, config, out, 3)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def distance(one: Path, two: Path) -> float:
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys()
    return max((a[name].float() - b[name].float()).abs().max().item() for name in a)


@pytest.mark.parametrize("critic", ["separate", "shared"])
@pytest.mark.parametrize("lora", [None, LoraConfig(r=4, alpha=8)], ids=["full", "lora"])
def test_the_first_update_has_ratio_1(
    tiny_model: Path, tmp_path: Path, lora: LoraConfig | None, critic: str
) -> None:
    config = CONFIG.model_copy(update={"lora": lora, "critic": critic})
    result = train_ppo(job(tiny_model, tmp_path / "policy", config))
    assert result.steps == 3
    for figures in result.history:
        assert figures["first_clip_fraction"] == 0.0
        assert figures["first_update_kl"] < 1e-12  # k3 of ratio 1 ± 1e-6
        assert figures["sampler_drift"] < 1e-5
    assert result.history[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert distance(tiny_model, result.path) > 1e-5


def test_micro_batches_change_nothing_but_rounding(tiny_model: Path, tmp_path: Path) -> None:
    found = [
        train_ppo(
            job(
                tiny_model,
                tmp_path / f"policy{size}",
                CONFIG.model_copy(
                    update={"micro_batch_size": size, "steps": 1, "epochs": 1, "minibatches": 1}
                ),
            )
        )
        for size in (1, 6)
    ]
    for name in ("policy_loss", "value_loss", "policy_grad_norm", "critic_grad_norm"):
        one, two = (result.history[0][name] for result in found)
        assert one == pytest.approx(two, abs=1e-5), name


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_a_stopped_training_goes_on_bit_by_bit(tiny_model: Path, tmp_path: Path, critic: str) -> None:
    config = CONFIG.model_copy(update={"critic": critic})
    whole = train_ppo(job(tiny_model, tmp_path / "whole", config))
    asked = iter([True, True, False])
    for _ in range(2):
        with pytest.raises(TrainingStopped):
            train_ppo(job(tiny_model, tmp_path / "parts", config), should_stop=lambda: next(asked))
    parts = train_ppo(job(tiny_model, tmp_path / "parts", config))
    assert distance(whole.path, parts.path) == 0.0
    assert parts.history == whole.history
    again = train_ppo(job(tiny_model, tmp_path / "parts", config))
    assert again.reused


def test_rollouts_on_disk_are_not_drawn_again(tiny_model: Path, tmp_path: Path) -> None:
    """A kill between two checkpoints leaves rollouts behind: the reward is not asked for them again."""
    asked: list[int] = []

    def counting(responses: Sequence[Response]) -> list[Scored]:
        asked.append(len(responses))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return shortness(responses)

    config = CONFIG.model_copy(update={"save_steps": 100})
    with pytest.raises(KeyboardInterrupt):
        train_ppo(job(tiny_model, tmp_path / "policy", config, counting))
    resumed = train_ppo(job(tiny_model, tmp_path / "policy", config, counting))
    assert asked == [6, 6, 6, 6]  # the third failed; the first two were found on disk
    whole = train_ppo(job(tiny_model, tmp_path / "whole", config))
    assert distance(whole.path, resumed.path) == 0.0


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_only_the_critic_learns_while_it_warms_up(tiny_model: Path, tmp_path: Path, critic: str) -> None:
    config = CONFIG.model_copy(update={"critic_warmup": 3, "critic": critic, "critic_learning_rate": 2e-2})
    result = train_ppo(job(tiny_model, tmp_path / "policy", config))
    assert distance(tiny_model, result.path) == 0.0
    assert result.history[-1]["value_loss"] < result.history[0]["value_loss"]


def test_a_shared_critic_reads_and_moves_the_policy_s_network(tiny_model: Path) -> None:
    """Its values are the head on transformers' own last hidden states; one pass gives both gradients."""
    config = CONFIG.model_copy(update={"critic": "shared"})
    actors = load_actors(str(tiny_model), None, config, seed=1)
    batch = padded([((5, 6, 7), (8, 9)), ((5,), (6, 7, 8))], 0)
    policy = actors.policy

    def by_hand() -> tuple[torch.Tensor, torch.Tensor]:
        out = policy(batch["ids"], attention_mask=batch["attention"], output_hidden_states=True)
        logprobs = out.logits.log_softmax(-1).gather(-1, batch["ids"].roll(-1, 1)[..., None])[..., 0]
        states = batch["completion"].roll(-1, 1)
        states[:, -1] = False
        return logprobs[states], actors.head(out.hidden_states[-1])[..., 0][states]

    logprobs, values = actors.read(batch, 1.0)
    assert logprobs.shape == values.shape == (5,)
    for found, expected in zip((logprobs, values), by_hand(), strict=True):
        torch.testing.assert_close(found, expected.detach())

    actors.descend(batch, 1.0, lambda logp: logp.sum(), lambda v: 0.3 * (v**2).sum())
    found = [p.grad.clone() for p in policy.parameters()]
    actors.zero_grad()
    expected_logprobs, expected_values = by_hand()
    (expected_logprobs.sum() + 0.3 * (expected_values**2).sum()).backward()
    for gradient, parameter in zip(found, policy.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)

    actors.zero_grad()
    actors.descend(batch, 1.0, None, lambda v: v.sum())
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert actors.head.weight.grad is not None


def test_unscored_responses_are_left_out_and_counted(tiny_model: Path, tmp_path: Path) -> None:
    def some(responses: Sequence[Response]) -> list[Scored]:
        return [Scored(None, "unreadable") if i % 3 == 0 else s for i, s in enumerate(shortness(responses))]

    result = train_ppo(job(tiny_model, tmp_path / "policy", score=some))
    assert [figures["unscored"] for figures in result.history] == [2.0, 2.0, 2.0]
    with pytest.raises(TrainingError, match="step 1: no response has a reward; the first reason: unreadable"):
        none = [Scored(None, "unreadable")]
        train_ppo(job(tiny_model, tmp_path / "none", score=lambda responses: none * len(responses)))
    with pytest.raises(TrainingError, match="gave 1 scores for 6 responses"):
        train_ppo(job(tiny_model, tmp_path / "wrong", score=lambda responses: none))


def test_prompts_that_are_too_long_are_quarantined(tiny_model: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"max_prompt_tokens": 30, "steps": 1})
    result = train_ppo(job(tiny_model, tmp_path / "policy", config))
    assert [failure.item for failure in result.failures] == ["p2"]
    with pytest.raises(TrainingError, match="no prompt can be used"):
        train_ppo(job(tiny_model, tmp_path / "none", CONFIG.model_copy(update={"max_prompt_tokens": 1})))


def test_guards() -> None:
    config = PPOConfig(max_kl=5.0, max_length_ratio=2.0)
    first = {"kl": 0.0, "length": 10.0}
    assert tripped(config, first, []) is None
    assert tripped(config, {"kl": 5.1, "length": 10.0}, [first]) == "max_kl"
    assert tripped(config, {"kl": 1.0, "length": 20.5}, [first]) == "max_length_ratio"
    assert tripped(config, {"kl": 1.0, "length": 4.9}, [first]) == "max_length_ratio"
    assert tripped(PPOConfig(), {"kl": 1e9, "length": 1e9}, [first]) is None


def test_a_guard_ends_the_training_and_says_so(tiny_model: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 20, "max_kl": 1e-4, "kl_coef": 0.0})
    result = train_ppo(job(tiny_model, tmp_path / "policy", config))
    assert result.steps < 20
    assert result.history[-1]["stopped_by_max_kl"] == 1.0
    assert result.path.joinpath("model.safetensors").exists()
    wider = train_ppo(job(tiny_model, tmp_path / "policy", config.model_copy(update={"max_kl": 1e9})))
    assert wider.steps == 20  # another guard is another training, not the one that lies there


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "critic"), [*((seed, "separate") for seed in range(5)), (0, "shared")])
def test_a_bandit_with_a_known_optimum(seed: int, critic: str, tmp_path: Path) -> None:
    """One token, π* ∝ π_ref exp(r/β): 99.9 % of the objective's gap closed, KL(π ‖ π*) at most 0.01."""
    from tiny_models import save_word_model
    from transformers import AutoModelForCausalLM

    beta, words = 0.3, ["red", "green", "blue", "black", "white", "pink", "grey", "gold"]
    model = save_word_model(tmp_path / "base", words, seed)
    generator = torch.Generator().manual_seed(seed)
    reward = dict(zip(words, torch.rand(len(words), generator=generator).tolist(), strict=True))

    def score(responses: Sequence[Response]) -> list[Scored]:
        return [Scored(reward.get(r.text, 0.0)) for r in responses]

    config = PPOConfig(
        steps=120,
        prompts=256,
        epochs=2,
        minibatches=1,
        micro_batch_size=256,
        max_tokens=1,
        learning_rate=5e-3,
        critic=critic,
        critic_learning_rate=1e-2,
        kl_coef=beta,
        missing_eos_penalty=0.0,
        whiten_rewards=False,
        max_grad_norm=10.0,
        sampler="transformers",
        dtype="float32",
    )
    prompt = [Prompt("p", (Message("user", "red"),))]
    out = train_ppo(PPOJob(str(model), prompt, score, config, tmp_path / "policy", seed)).path

    from transformers import AutoTokenizer

    from cai.chat import encoding

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = torch.tensor([encoding.encode(tokenizer, prompt[0].messages)])
    r = torch.tensor(
        [reward.get(tokenizer.decode([i], skip_special_tokens=True), 0.0) for i in range(len(tokenizer))]
    )
    reference, policy = (
        AutoModelForCausalLM.from_pretrained(path)(ids).logits[0, -1].double().log_softmax(-1).detach()
        for path in (model, out)
    )
    best = (reference + r.double() / beta).log_softmax(-1)

    def objective(logp: torch.Tensor) -> float:
        return float((logp.exp() * (r.double() - beta * (logp - reference))).sum())

    closed = (objective(policy) - objective(reference)) / (objective(best) - objective(reference))
    assert closed >= 0.999
    assert float((policy.exp() * (policy - best)).sum()) <= 0.01


@pytest.mark.slow
def test_two_processes_equal_one(tiny_model: Path, tmp_path: Path) -> None:
    """Each process draws, scores and learns its half; weights and figures are those of a single process."""
    script = Path(__file__).with_name("ppo_process.py")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
    ]
    command += [str(tiny_model), str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one = train_ppo(job(tiny_model, tmp_path / "one"))
    assert distance(one.path, tmp_path / "two") <= 1e-5
    history = json.loads((tmp_path / "two" / "training.json").read_text())["result"]["history"]
    for expected, found in zip(one.history, history, strict=True):
        for name in ("reward", "kl", "length", "policy_loss", "value_loss", "policy_grad_norm"):
            assert found[name] == pytest.approx(expected[name], abs=1e-5), name


@pytest.mark.slow
def test_kills_change_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """SIGKILL at ten random moments, each followed by a new start: the weights are those left alone."""
    script, out, steps = Path(__file__).with_name("ppo_process.py"), tmp_path / "killed", 28
    command = [sys.executable, str(script), str(tiny_model), str(out), str(steps), "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    finished = [int(line) for line in done.stdout.split()]
    assert len(finished) == 11
    assert finished[-1] < steps  # the last one did not have to begin at the beginning
    config = CONFIG.model_copy(update={"steps": steps})
    assert distance(train_ppo(job(tiny_model, tmp_path / "alone", config)).path, out) == 0.0


def test_figures_are_finite(tiny_model: Path, tmp_path: Path) -> None:
    result = train_ppo(job(tiny_model, tmp_path / "policy"))
    assert all(math.isfinite(value) for figures in result.history for value in figures.values())
    assert result.rows == 18
    again = train_ppo(job(tiny_model, tmp_path / "policy"))
    assert again.reused and again.history == result.history
