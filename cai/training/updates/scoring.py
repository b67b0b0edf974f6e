"""A model over rows: log P(completion | prompt) of a language model, rewards of a reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cai.engines.local.layouts import rotary_border
from cai.rewards.model import end_rewards
from cai.training.device import Device
from cai.training.examples import PairRow, Row, SFTRow
from cai.training.updates.batches import Batch, example_columns, pair_batch, pair_columns, sft_batch
from cai.training.updates.losses import sequence_logprobs


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


def example_logprobs(model: Any, rows: Sequence[SFTRow], pad: int, batch_size: int) -> Tensor:
    """log P of the completion of every row: (rows,)."""
    found = torch.zeros(len(rows))
    for picked, some in _sorted(rows, batch_size, rotary_border(model.config)):
        batch = _on(model, sft_batch(example_columns(some), pad))
        with torch.inference_mode():
            found[picked] = completion_logprobs(model, batch).float().cpu()
    return found


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
    for picked, some in _sorted(rows, batch_size, rotary_border(model.config)):
        batch = _on(model, pair_batch(pair_columns(some), pad))
        with torch.inference_mode():
            both = read(batch).float().cpu()
        chosen[picked], rejected[picked] = both.chunk(2)
    return chosen, rejected


def _sorted(
    rows: Sequence[Row], batch_size: int, border: int | None
) -> Iterator[tuple[list[int], list[Row]]]:
    """Batches of rows of nearly equal length with their numbers, the longest first; see ``borders.py``."""
    order = sorted(range(len(rows)), key=lambda index: (-rows[index].length, index))
    beyond = [index for index in order if border is not None and rows[index].length > border]
    for some in (beyond, order[len(beyond) :]):
        for start in range(0, len(some), batch_size):
            picked = some[start : start + batch_size]
            yield picked, [rows[index] for index in picked]


def _on(model: Any, batch: Batch) -> Batch:
    """``batch`` where ``model`` is, which is made ready to be asked."""
    model.eval()
    return {name: tensor.to(model.device) for name, tensor in batch.items()}
