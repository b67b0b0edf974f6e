"""The reward model's training: its loss against TRL's and the exact one, its head, its bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from training_rows import pairs, prompt

from cai.config.train_config import LoraConfig, RewardModelConfig
from cai.rewards.model import RewardModel, end_rewards
from cai.training.checkpoint import Workspace
from cai.training.device import Device
from cai.training.examples import encode_pairs
from cai.training.quiet import quiet
from cai.training.reward_model import _load_model, is_held_out, train_reward
from cai.training.updates import scoring
from cai.training.updates.batches import Updates, pair_batch, pair_columns
from cai.training.updates.schedule import Schedule
from cai.values.errors import TrainingError
from cai.values.types import Message, Prompt, Ranked, Response

CPU = Device("cpu", torch.float32, gradient_checkpointing=False)
BATCH: dict[str, Any] = {"batch_size": 8, "micro_batch_size": 4, "learning_rate": 1e-3, "dtype": "float32"}
CONFIG = RewardModelConfig(**BATCH)


def responses(items: list[Ranked]) -> list[Response]:
    return [Response(item.prompt, text) for item in items for text in (item.chosen, item.rejected)]


async def values(model: RewardModel, asked: list[Response]) -> list[float]:
    found = [scored.value for scored in await model.score(asked)]
    assert None not in found
    return [value for value in found if value is not None]


def trainer_over(model_path: Path, out: Path, **settings: Any) -> Any:
    """A real SoftRewardTrainer over the first six pairs, not yet trained; ``.rows`` are their columns."""
    with quiet():
        import datasets
        from transformers import AutoTokenizer
        from trl.trainer.reward_config import RewardConfig

        from cai.training.updates.trainers import Job, SoftRewardTrainer

        config = RewardModelConfig(**settings)
        tokenizer = AutoTokenizer.from_pretrained(model_path)
        rows = encode_pairs(tokenizer, pairs()[:6], config, "reward").rows
        data = datasets.Dataset.from_dict(pair_columns(rows))
        schedule = Schedule([row.length for row in rows], config, 0)
        job = Job(config, CPU, Updates(data, schedule, pair_batch, 1), Workspace(out / "reward", "key"))
        arguments = RewardConfig(
            output_dir=str(out), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
            center_rewards_coefficient=config.center or None,
        )  # fmt: skip
        trainer = SoftRewardTrainer(
            job,
            model=_load_model(str(model_path), seed=1),
            args=arguments,
            train_dataset=data,
            processing_class=tokenizer,
        )
    trainer.rows = pair_columns(rows)
    return trainer


def with_gradient(trainer: Any, loss: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    trainer.model.zero_grad()
    loss.backward()
    return loss.detach(), torch.cat([weight.grad.flatten() for weight in trainer.model.parameters()])


def our_loss(trainer: Any, p: list[float], weights: list[float] | None = None) -> Any:
    rows = {**trainer.rows, "p_chosen": p, "weight": weights or [1.0] * 6}
    batch = pair_batch(rows, trainer.processing_class.pad_token_id)
    return trainer.compute_loss(trainer.model, batch, num_items_in_batch=batch["weights"].sum())


@pytest.mark.slow
@pytest.mark.parametrize("center", [0.0, 0.3])
@pytest.mark.parametrize("loss", ["bce", "geometric"])
@pytest.mark.parametrize("swapped", [False, True])
def test_hard_labels_equal_trls_own_loss(
    swapped: bool, loss: str, center: float, tiny_model: Path, tmp_path: Path
) -> None:
    """p = 1 is TRL's loss, p = 0 TRL's with chosen and rejected exchanged: loss and gradient."""
    from trl.trainer.reward_trainer import RewardTrainer

    trainer = trainer_over(tiny_model, tmp_path, loss=loss, center=center)
    mine, my_gradient = with_gradient(trainer, our_loss(trainer, [0.0 if swapped else 1.0] * 6))
    first, second = ("rejected", "chosen") if swapped else ("chosen", "rejected")
    its_rows = [
        {
            "chosen_ids": trainer.rows["prompt_ids"][i] + trainer.rows[f"{first}_ids"][i],
            "rejected_ids": trainer.rows["prompt_ids"][i] + trainer.rows[f"{second}_ids"][i],
        }
        for i in range(6)
    ]
    theirs = RewardTrainer.compute_loss(trainer, trainer.model, trainer.data_collator(its_rows))
    its, its_gradient = with_gradient(trainer, theirs)
    assert mine.item() == pytest.approx(its.item(), abs=1e-6)
    torch.testing.assert_close(my_gradient, its_gradient, atol=1e-6, rtol=1e-5)
    assert its_gradient.abs().max() > 1e-2


@pytest.mark.slow
def test_soft_labels_are_the_exact_cross_entropy(tiny_model: Path, tmp_path: Path) -> None:
    """-p log σ(z) - (1-p) log(1-σ(z)) of transformers' own rewards, weighted: loss and gradient."""
    trainer = trainer_over(tiny_model, tmp_path, loss="bce")
    p, weights = [0.5, 0.6, 0.75, 0.9, 0.31, 1.0], [1.0, 2.0, 0.5, 1.0, 3.0, 1.0]
    mine, my_gradient = with_gradient(trainer, our_loss(trainer, p, weights))
    batch = pair_batch({**trainer.rows, "p_chosen": p, "weight": weights}, 1)
    logits = trainer.model(input_ids=batch["ids"], attention_mask=batch["attention"]).logits[:, 0]
    z = logits[:6] - logits[6:]
    exact = F.binary_cross_entropy_with_logits(z, torch.tensor(p), torch.tensor(weights), reduction="sum")
    its, its_gradient = with_gradient(trainer, exact / sum(weights))
    assert mine.item() == pytest.approx(its.item(), abs=1e-6)
    torch.testing.assert_close(my_gradient, its_gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_padding_side_and_order_change_nothing(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    model = _load_model(str(tiny_model), seed=1)
    rows = encode_pairs(AutoTokenizer.from_pretrained(tiny_model), pairs(), CONFIG, "reward").rows
    ids = [[*row.prompt, *row.chosen] for row in rows]
    width = max(map(len, ids))
    alone = torch.stack([end_rewards(model, torch.tensor([r]), torch.ones(1, len(r)))[0] for r in ids])
    for left in (False, True):
        padded, mask = [], []
        for row in reversed(ids):
            gap = [0] * (width - len(row))
            padded.append([*gap, *row] if left else [*row, *gap])
            mask.append([*gap, *[1] * len(row)] if left else [*[1] * len(row), *gap])
        together = end_rewards(model, torch.tensor(padded), torch.tensor(mask)).flip(0)
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert alone.std() > 0.1


@pytest.mark.slow
def test_the_end_is_found_where_padding_is_the_end_of_turn(tiny_model: Path) -> None:
    """The last id is the end of turn, and so is the padding: ids alone cannot tell where the text ends."""
    model = _load_model(str(tiny_model), seed=1)
    end = 3
    model.config.pad_token_id = end
    row = torch.tensor([[20, 30, 40, end]])
    exact = end_rewards(model, row, torch.ones_like(row))
    padded = F.pad(row, (0, 3), value=end)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    torch.testing.assert_close(end_rewards(model, padded, mask), exact, atol=1e-6, rtol=0)
    assert (model(padded, attention_mask=mask).logits[:, 0] - exact).abs() > 1e-2


@pytest.mark.slow
def test_the_head_is_drawn_small_and_by_the_seed(tiny_model: Path) -> None:
    a, b, c = (_load_model(str(tiny_model), seed).score.weight for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    many = torch.cat([_load_model(str(tiny_model), seed).score.weight for seed in range(20)])
    assert many.std().item() == pytest.approx(65**-0.5, rel=0.1)  # d = 64


CODE = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[2])
from cai.rewards.model import RewardModel
from training_rows import pairs
from cai.values.types import Response
asked = [Response(r.prompt, text) for r in pairs() for text in (r.chosen, r.rejected)]
print(json.dumps([scored.value for scored in asyncio.run(RewardModel(sys.argv[1]).score(asked))]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoraConfig(r=8, alpha=32)])
def test_a_new_process_gives_the_rewards_of_the_trained_model(
    lora: LoraConfig | None, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model in memory said after its last update, less the mean, is what its files say."""
    said: list[torch.Tensor] = []
    real = scoring.pair_rewards

    def listen(*arguments: Any) -> Any:
        said[:] = real(*arguments)
        return said[0], said[1]

    monkeypatch.setattr(scoring, "pair_rewards", listen)
    config = CONFIG.model_copy(update={"lora": lora, "learning_rate": 1e-2, "epochs": 6.0})
    result = train_reward(tiny_model, pairs(), config, tmp_path / "out", 3)
    in_memory = torch.stack(said, dim=1).flatten()
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(result.path), str(here)],
        check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(here.parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reloaded = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(reloaded, in_memory - in_memory.mean(), atol=1e-5, rtol=0)
    assert abs(reloaded.mean().item()) < 1e-5 and reloaded.std() > 0.2
    assert json.loads((result.path / "config.json").read_text())["reward_center"] == pytest.approx(
        in_memory.mean().item(), abs=1e-5
    )
    assert result.metrics["agreement"] > 0.6
    if lora is not None:
        _assert_the_adapter_says_the_same(result, tiny_model, reloaded)


def _assert_the_adapter_says_the_same(result: Any, base: Path, rewards: torch.Tensor) -> None:
    """The adapter on a base with *another* head: the trained head came with the adapter."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    model = PeftModel.from_pretrained(_load_model(str(base), seed=99), result.adapter)
    rows = encode_pairs(AutoTokenizer.from_pretrained(base), pairs(), CONFIG, "reward").rows
    chosen, rejected = scoring.pair_rewards(model, rows, 1, 8)
    center = json.loads((result.path / "config.json").read_text())["reward_center"]
    adapted = torch.stack([chosen, rejected], dim=1).flatten() - center
    torch.testing.assert_close(adapted, rewards, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
async def test_transformers_itself_reads_the_same_where_padding_was_the_end_of_turn(
    tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = shutil.copytree(tiny_model, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(base)
    out = train_reward(base, pairs(), CONFIG, tmp_path / "out", 3).path
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.pad_token != tokenizer.eos_token
    model = AutoModelForSequenceClassification.from_pretrained(out)
    rows = encode_pairs(tokenizer, pairs(), CONFIG, "reward").rows
    batch = pair_batch(pair_columns(rows), tokenizer.pad_token_id)
    logits = model(input_ids=batch["ids"], attention_mask=batch["attention"]).logits[:, 0]
    ours = torch.tensor(await values(RewardModel(out), responses(pairs()))).reshape(20, 2).T.flatten()
    torch.testing.assert_close(ours, logits - model.config.reward_center, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_weight_of_two_is_the_pair_twice(tiny_model: Path, tmp_path: Path) -> None:
    rows = pairs()[:3]
    heavy = [replace(rows[0], weight=2.0), *rows[1:]]
    first = train_reward(tiny_model, heavy, CONFIG, tmp_path / "heavy", 0)
    second = train_reward(tiny_model, [rows[0], *rows], CONFIG, tmp_path / "twice", 0)
    assert first.history[0]["loss"] == pytest.approx(second.history[0]["loss"], abs=1e-6)


@pytest.mark.slow
def test_centring_pulls_rewards_to_zero(tiny_model: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 10.0})
    free = train_reward(tiny_model, pairs(), config, tmp_path / "free", 1)
    held = train_reward(tiny_model, pairs(), config.model_copy(update={"center": 1.0}), tmp_path / "held", 1)
    assert abs(held.metrics["reward"]) < 0.2 < abs(free.metrics["reward"])


@pytest.mark.slow
def test_labels_that_are_all_ties(tiny_model: Path, tmp_path: Path) -> None:
    """Cross-entropy pulls every pair together; without soft labels there is nothing to learn from."""
    ties = [replace(pair, p_chosen=0.5) for pair in pairs()]
    result = train_reward(tiny_model, ties, CONFIG.model_copy(update={"epochs": 5.0}), tmp_path / "out", 0)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.history[-1]["loss"] == pytest.approx(0.6931, abs=5e-3)
    assert {update["agreement"] for update in result.history} == {0.5}
    hard = CONFIG.model_copy(update={"soft": False})
    with pytest.raises(TrainingError, match=r"tie without soft labels: 20\).*soft: true"):
        train_reward(tiny_model, ties, hard, tmp_path / "hard", 0)


@pytest.mark.slow
def test_one_class_only_and_one_pair_only(tiny_model: Path, tmp_path: Path) -> None:
    """Every label certain: it trains, and stays finite. A single pair is enough."""
    sure = [replace(pair, p_chosen=1.0) for pair in pairs()]
    config = CONFIG.model_copy(update={"epochs": 5.0, "learning_rate": 1e-2})
    result = train_reward(tiny_model, sure, config, tmp_path / "sure", 0)
    assert result.history[-1]["loss"] < 0.1 and result.metrics["agreement"] == pytest.approx(1.0)
    assert train_reward(tiny_model, sure[:1], CONFIG, tmp_path / "one", 0).steps == 1


@pytest.mark.slow
def test_nothing_to_learn_from_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the reward model \(the input was empty\)"):
        train_reward(tiny_model, [], CONFIG, tmp_path / "out", 0)
    same = [replace(pair, rejected=pair.chosen) for pair in pairs()]
    with pytest.raises(TrainingError, match=r"identical responses: 20"):
        train_reward(tiny_model, same, CONFIG, tmp_path / "out", 0)


@pytest.mark.slow
def test_long_pairs_are_quarantined_and_counted(tiny_model: Path, tmp_path: Path) -> None:
    items = [replace(pairs()[0], chosen="Yes. " * 300), *pairs()[1:5]]
    result = train_reward(
        tiny_model, items, CONFIG.model_copy(update={"max_length": 128}), tmp_path / "out", 0
    )
    assert result.rows == 4
    assert [(f.stage, f.item, f.reason) for f in result.failures] == [("reward", "p0", "too long")]


@pytest.mark.slow
def test_a_model_without_such_a_form_is_an_error(tmp_path: Path) -> None:
    from transformers import Wav2Vec2Config

    Wav2Vec2Config(num_labels=1).save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="no reward model can be made of"):
        _load_model(str(tmp_path), 0)


def test_prompts_are_held_out_by_their_text_and_the_seed() -> None:
    prompts = [prompt(i) for i in range(2000)]
    first = [is_held_out(one, 0.1, 7) for one in prompts]
    assert first == [is_held_out(replace(one, id="other", tags=("x",)), 0.1, 7) for one in prompts]
    assert 150 <= sum(first) <= 250
    assert first != [is_held_out(one, 0.1, 8) for one in prompts]
    # A larger share holds out the same prompts and more.
    assert all(is_held_out(one, 0.2, 7) for one, held in zip(prompts, first, strict=True) if held)
    assert not any(is_held_out(one, 0.0, 7) for one in prompts)
    assert all(is_held_out(one, 1.0, 7) for one in prompts)
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert {is_held_out(Prompt("x", turns[:n]), 0.5, s) for n in (1, 3) for s in range(9)} == {True, False}
