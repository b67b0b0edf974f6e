"""Rows of a schedule → the padded tensors of an update. B rows, T tokens, right padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cai.training.examples import PairRow, SFTRow
from cai.training.updates.schedule import Schedule

Batch = dict[str, Tensor]
"""``ids`` (B, T), ``attention`` (B, T), ``completion`` (B, T) bool, ``weights`` (rows,); DPO adds more."""


def example_columns(rows: Sequence[SFTRow]) -> dict[str, list[Any]]:
    """Examples as columns of the trainer's dataset."""
    return {
        "prompt_ids": [list(row.prompt) for row in rows],
        "completion_ids": [list(row.completion) for row in rows],
        "weight": [row.weight for row in rows],
    }


def pair_columns(rows: Sequence[PairRow]) -> dict[str, list[Any]]:
    """Pairs as columns, named as TRL names them."""
    return {
        "prompt_ids": [list(row.prompt) for row in rows],
        "chosen_ids": [list(row.chosen) for row in rows],
        "rejected_ids": [list(row.rejected) for row in rows],
        "p_chosen": [row.p for row in rows],
        "weight": [row.weight for row in rows],
    }


def sft_batch(rows: dict[str, list[Any]], pad: int) -> Batch:
    """A micro-batch of supervised fine-tuning from columns of the trainer's dataset."""
    batch = padded(list(zip(rows["prompt_ids"], rows["completion_ids"], strict=True)), pad)
    batch["weights"] = torch.tensor(rows["weight"], dtype=torch.float32)
    return batch


def pair_batch(rows: dict[str, list[Any]], pad: int) -> Batch:
    """A micro-batch of B pairs as 2B sequences: first the chosen, then the rejected ones, as in TRL."""
    chosen = zip(rows["prompt_ids"], rows["chosen_ids"], strict=True)
    rejected = zip(rows["prompt_ids"], rows["rejected_ids"], strict=True)
    batch = padded([*chosen, *rejected], pad)
    for name, column in (("p", "p_chosen"), ("weights", "weight")):
        batch[name] = torch.tensor(rows[column], dtype=torch.float32)
    for column in ("ref_chosen_logps", "ref_rejected_logps"):
        if column in rows:
            batch[column] = torch.tensor(rows[column], dtype=torch.float32)
    return batch


def padded(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int) -> Batch:
    """(prompt, completion) ids as tensors, padded on the right."""
    width = max(len(prompt) + len(completion) for prompt, completion in pairs)
    ids = torch.full((len(pairs), width), pad, dtype=torch.long)
    attention = torch.zeros(len(pairs), width, dtype=torch.long)
    completion_mask = torch.zeros(len(pairs), width, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(pairs):
        start, end = len(prompt), len(prompt) + len(completion)
        ids[row, :end] = torch.tensor([*prompt, *completion])
        attention[row, :end] = 1
        completion_mask[row, start:end] = True
    return {"ids": ids, "attention": attention, "completion": completion_mask}


@dataclass(frozen=True)
class Updates(torch.utils.data.Dataset[list[Batch]]):
    """Item ``i`` is update ``i``: its micro-batches, ready for the model."""

    rows: Any  # datasets.Dataset
    schedule: Schedule
    collate: Callable[[dict[str, list[Any]], int], Batch]
    pad: int

    def __len__(self) -> int:
        return self.schedule.total

    def __getitem__(self, step: int) -> list[Batch]:
        return [self.collate(self.rows[micro], self.pad) for micro in self.schedule.update(step)]
