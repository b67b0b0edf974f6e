"""Endless fresh documents in batches of a few fixed shapes (each new shape would be compiled anew)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.pocket.second.documents import draw_doc
from tools.pocket.second.encode import Encoder, Example

WIDTHS = (96, 176, 224, 288, 384, 1152)
TOKENS = 9216  # of a batch
SHARE = {96: 0.6, 176: 0.4, 224: 0.4, 288: 0.4, 384: 0.4, 1152: 0.2}  # of positions that are targets, at most


@dataclass(frozen=True, slots=True)
class Batch:
    """ids [B, T]; K targets: positions in the flattened batch, tokens and weights."""

    ids: Tensor
    at: Tensor
    y: Tensor
    w: Tensor


def collate(examples: list[Example], width: int) -> Batch:
    """Right-padded; targets beyond the fixed number K are dropped (rare)."""
    rows = len(examples)
    k = int(rows * width * SHARE[width]) // 16 * 16
    ids = torch.zeros(rows, width, dtype=torch.long)
    flat: list[tuple[int, int, float]] = []
    for i, example in enumerate(examples):
        ids[i, : len(example.ids)] = torch.tensor(example.ids)
        flat += [(i * width + place, token, weight) for place, token, weight in example.targets]
    random.Random(len(flat)).shuffle(flat)
    flat = flat[:k] + [(0, 0, 0.0)] * (k - len(flat))
    at, y, w = zip(*flat, strict=True)
    return Batch(ids, torch.tensor(at), torch.tensor(y), torch.tensor(w))


def stream(encoder: Encoder, seed: int, chunk: int = 4000) -> Iterator[Batch]:
    """Batches without end. Leftovers of a chunk wait for the next one."""
    rng = random.Random(seed)
    waiting: dict[int, list[Example]] = {width: [] for width in WIDTHS}
    while True:
        for _ in range(chunk):
            example = encoder(draw_doc(rng))
            width = next((w for w in WIDTHS if len(example.ids) <= w), None)
            if width is not None:
                waiting[width].append(example)
        ready: list[Batch] = []
        for width, examples in waiting.items():
            rows = TOKENS // width
            while len(examples) >= rows:
                ready.append(collate([examples.pop() for _ in range(rows)], width))
        rng.shuffle(ready)
        yield from ready
