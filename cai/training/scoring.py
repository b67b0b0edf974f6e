"""A model over rows: log P(completion | prompt) of a language model, rewards of a reward model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cai.rewards.model import end_rewards
from cai.training.batches import Batch, pair_batch, pair_columns
from cai.training.device import Device
from cai.training.losses import sequence_logprobs
from cai.training.rows import PairRow


def completion_logprobs(model: Any, batch: Batch) -> Tensor:
    """log P of each row's completion: (B,).

    Only positions that predict a completion token pass through the output layer, so logits take N * V
    instead of B * T * V. The model's own forward is used (not hidden states times a weight), so whatever
    it does to logits, such as soft-capping or scaling, stays right.
    """
    ids, completion = batch["ids"], batch["completion"]
    before = torch.zeros_like(completion)
    before[:, :-1] = completion[:, 1:]

    def select(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0][before], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        logits = model(input_ids=ids, attention_mask=batch["attention"], use_cache=False).logits
    finally:
        handle.remove()
    return sequence_logprobs(logits, ids, completion)


def reference_logprobs(
    model: Any, rows: Sequence[PairRow], pad: int, device: Device, batch_size: int
) -> tuple[Tensor, Tensor]:
    """log P of chosen and rejected of every pair: (rows,) each."""

    def read(batch: Batch) -> Tensor:
        with device.autocast:
            return completion_logprobs(model, batch)

    return _each_pair(model, rows, pad, batch_size, read)


def pair_rewards(model: Any, rows: Sequence[PairRow], pad: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """A reward model's rewards, not centred, of chosen and rejected of every pair: (rows,) each."""

    def read(batch: Batch) -> Tensor:
        return end_rewards(model, batch["ids"], batch["attention"])

    return _each_pair(model, rows, pad, batch_size, read)


def _each_pair(
    model: Any, rows: Sequence[PairRow], pad: int, batch_size: int, read: Callable[[Batch], Tensor]
) -> tuple[Tensor, Tensor]:
    """``read`` of chosen and rejected of every pair, (rows,) each, in one pass over rows sorted by length."""
    chosen, rejected = torch.zeros(len(rows)), torch.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda index: (-rows[index].length, index))
    model.eval()
    for start in range(0, len(order), batch_size):
        picked = order[start : start + batch_size]
        batch = pair_batch(pair_columns([rows[index] for index in picked]), pad)
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        with torch.inference_mode():
            both = read(batch).float().cpu()
        chosen[picked], rejected[picked] = both.chunk(2)
    return chosen, rejected
