"""Soft-label DPO and SFT against TRL's own trainers, run for real on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_rows import examples, pairs

from cai.config.train_config import DPOConfig, SFTConfig
from cai.training.device import Device
from cai.training.examples import encode_examples, encode_pairs
from cai.training.quiet import quiet
from cai.training.updates import losses
from cai.training.updates.batches import pair_batch, pair_columns, sft_batch
from cai.training.updates.scoring import completion_logprobs, reference_logprobs
from cai.values.types import as_messages

pytestmark = pytest.mark.slow

PAD = 0
BETA = 0.3
CPU = Device("cpu", torch.float32, gradient_checkpointing=False)


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


@pytest.fixture
def dpo_trainer(tiny_model: Path, tmp_path: Path) -> Any:
    """TRL's DPOTrainer over six pairs; the policy is moved away from the reference, so z is not 0."""
    with quiet():
        import datasets
        from trl.trainer.dpo_config import DPOConfig as Arguments
        from trl.trainer.dpo_trainer import DPOTrainer

        model, tokenizer = load(tiny_model)
        rows = datasets.Dataset.from_list(
            [
                {
                    "prompt": as_messages(pair.prompt.messages),
                    "chosen": [{"role": "assistant", "content": pair.chosen}],
                    "rejected": [{"role": "assistant", "content": pair.rejected}],
                }
                for pair in pairs()[:6]
            ]
        )
        arguments = Arguments(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", beta=BETA,
            gradient_checkpointing=False, precompute_ref_log_probs=True, per_device_train_batch_size=6,
        )  # fmt: skip
        trainer = DPOTrainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return trainer


def ours(tiny_model: Path) -> tuple[dict[str, list[Any]], torch.Tensor, torch.Tensor]:
    base, tokenizer = load(tiny_model)
    rows = encode_pairs(tokenizer, pairs()[:6], DPOConfig()).rows
    return pair_columns(rows), *reference_logprobs(base, rows, PAD, CPU, batch_size=4)


def test_rows_and_reference_equal_trls(dpo_trainer: Any, tiny_model: Path) -> None:
    columns, chosen, rejected = ours(tiny_model)
    theirs = dpo_trainer.train_dataset
    for name in ("prompt_ids", "chosen_ids", "rejected_ids"):
        # TRL also learns the newline that the template prints after the end of turn; a model never does.
        for mine, its in zip(columns[name], theirs[name], strict=True):
            assert its[: len(mine)] == mine and len(its) - len(mine) <= 1
    own = [
        {name: columns[name][i] for name in ("prompt_ids", "chosen_ids", "rejected_ids")} for i in range(6)
    ]
    reference, _ = load(tiny_model)
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(reference)
    a, b = dpo_trainer.compute_ref_log_probs(reference, dpo_trainer.data_collator(own))
    torch.testing.assert_close(chosen, a, atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(rejected, b, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("swapped", [False, True])
def test_hard_labels_equal_trls_sigmoid_loss(dpo_trainer: Any, tiny_model: Path, swapped: bool) -> None:
    """p = 1 is TRL's loss; p = 0 is TRL's loss with chosen and rejected exchanged. Loss and gradient."""
    columns, chosen, rejected = ours(tiny_model)
    columns |= {"ref_chosen_logps": chosen.tolist(), "ref_rejected_logps": rejected.tolist()}
    model = dpo_trainer.model
    batch = pair_batch(columns, PAD)
    c, r = completion_logprobs(model, batch).chunk(2)
    z = losses.dpo_logits(c, r, chosen, rejected, BETA)
    loss = losses.bce(z, torch.full((6,), 0.0 if swapped else 1.0)).mean()
    loss.backward()
    mine = gradients(model)
    model.zero_grad()
    first, second = ("rejected", "chosen") if swapped else ("chosen", "rejected")
    rows = [
        {
            "prompt_ids": columns["prompt_ids"][i],
            "chosen_ids": columns[f"{first}_ids"][i],
            "rejected_ids": columns[f"{second}_ids"][i],
            "ref_chosen_logps": columns[f"ref_{first}_logps"][i],
            "ref_rejected_logps": columns[f"ref_{second}_logps"][i],
        }
        for i in range(6)
    ]
    model.train()
    theirs = dpo_trainer.compute_loss(model, dpo_trainer.data_collator(rows))
    theirs.backward()
    assert z.abs().min() > 1e-3
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-6)
    torch.testing.assert_close(mine, gradients(model), atol=1e-6, rtol=1e-5)


def test_sft_loss_equals_trls(tiny_model: Path, tmp_path: Path) -> None:
    with quiet():
        import datasets
        from trl.trainer.sft_config import SFTConfig as Arguments
        from trl.trainer.sft_trainer import SFTTrainer

        model, tokenizer = load(tiny_model)
        rows = encode_examples(tokenizer, examples()[:6], SFTConfig()).rows
        data = datasets.Dataset.from_list(
            [
                {
                    "input_ids": [*row.prompt, *row.completion],
                    "completion_mask": [0] * len(row.prompt) + [1] * len(row.completion),
                }
                for row in rows
            ]
        )
        arguments = Arguments(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none",
            gradient_checkpointing=False, completion_only_loss=True,
        )  # fmt: skip
        trainer = SFTTrainer(model, args=arguments, train_dataset=data, processing_class=tokenizer)
    theirs = trainer.compute_loss(model, trainer.data_collator(list(trainer.train_dataset)))
    columns = {
        "prompt_ids": [list(row.prompt) for row in rows],
        "completion_ids": [list(row.completion) for row in rows],
        "weight": [1.0] * 6,
    }
    batch = sft_batch(columns, PAD)
    mine = -completion_logprobs(model, batch).sum() / batch["completion"].sum()
    assert mine.item() == pytest.approx(theirs.item(), abs=1e-6)
