"""Endless fresh documents in batches of a few fixed shapes (each new shape would be compiled anew)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.pocket.documents import draw_doc
from tools.pocket.encode import Encoder, Example

WIDTHS = (64, 144, 176, 208, 320)
TOKENS = 9216  # of a batch
SHARE = {64: 0.55, 144: 0.45, 176: 0.35, 208: 0.45, 320: 0.5}  # of positions that are targets, at most


@dataclass(frozen=True, slots=True)
class Batch:
    """ids [B, T]; K target positions in the flattened batch with two targets and weights each."""

    ids: Tensor
    at: Tensor
    y: Tensor
    w: Tensor
    y2: Tensor
    w2: Tensor


def collate(examples: list[Example], width: int) -> Batch:
    """Right-padded; targets beyond the fixed number K are dropped (rare)."""
    rows = len(examples)
    k = int(rows * width * SHARE[width]) // 16 * 16
    ids = torch.zeros(rows, width, dtype=torch.long)
    flat: list[tuple[int, int, float, int, float]] = []
    for i, example in enumerate(examples):
        ids[i, : len(example.ids)] = torch.tensor(example.ids)
        second = {place: (token, weight) for place, token, weight in example.tie}
        for place, token, weight in example.targets:
            flat.append((i * width + place, token, weight, *second.get(place, (0, 0.0))))
    random.Random(len(flat)).shuffle(flat)
    flat = flat[:k] + [(0, 0, 0.0, 0, 0.0)] * (k - len(flat))
    at, y, w, y2, w2 = zip(*flat, strict=True)
    return Batch(ids, torch.tensor(at), torch.tensor(y), torch.tensor(w), torch.tensor(y2), torch.tensor(w2))


def stream(encoder: Encoder, seed: int, chunk: int = 6000) -> Iterator[Batch]:
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
