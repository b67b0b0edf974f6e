"""Which rows make up which update, and the learning rate of each. Pure, and the same for the same seed.

Every update is a random draw of ``batch_size`` rows without replacement within an epoch. Rows are grouped
by length *inside* an update: sorted, then cut where it costs least. So a micro-batch holds rows of nearly
equal length and little padding, while the rows of an update, and hence its gradient, are those of plain
shuffling. (Sorting across updates pads a little less, but gives updates of only short or only long rows.)
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from cai.config.train_config import OptimizerConfig

Update = list[list[int]]
"""Micro-batches of row numbers, all of them one optimizer step."""


@dataclass(frozen=True)
class Schedule:
    """The updates of a training over rows of the given lengths.

    ``overhead`` is what a forward pass costs beside its tokens, in tokens per sequence of a row. Rows longer
    than ``border`` are in no micro-batch with others (``borders.py``).
    """

    lengths: Sequence[int]
    config: OptimizerConfig
    seed: int
    overhead: float = 0.0
    border: int | None = None

    @property
    def updates_per_epoch(self) -> int:
        return math.ceil(len(self.lengths) / self.config.batch_size)

    @property
    def total(self) -> int:
        """Updates in all: whole epochs and a part of one, but at most ``max_steps``."""
        planned = max(1, math.ceil(self.config.epochs * self.updates_per_epoch))
        return planned if self.config.max_steps is None else min(planned, self.config.max_steps)

    def update(self, step: int) -> Update:
        """The micro-batches of update ``step``, counted from 0."""
        epoch, place = divmod(step, self.updates_per_epoch)
        order = list(range(len(self.lengths)))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        rows = order[place * self.config.batch_size : (place + 1) * self.config.batch_size]
        beyond = [row for row in rows if self.border is not None and self.lengths[row] > self.border]
        within = [row for row in rows if self.border is None or self.lengths[row] <= self.border]
        return [micro for some in (beyond, within) for micro in self._micro_batches(some)]

    def _micro_batches(self, rows: list[int]) -> Update:
        size = self.config.micro_batch_size
        if not self.config.group_by_length:
            return [rows[start : start + size] for start in range(0, len(rows), size)]
        # The longest first: a batch that does not fit into memory fails at once.
        rows = sorted(rows, key=lambda row: (-self.lengths[row], row))
        return [
            rows[start:end] for start, end in cuts([self.lengths[row] for row in rows], size, self.overhead)
        ]


def cuts(lengths: Sequence[int], size: int, overhead: float) -> list[tuple[int, int]]:
    """Cut descending ``lengths`` into runs of at most ``size``; least Σ (count · longest + overhead).

    Dynamic programming over the end of the last run, O(len(lengths) · size).
    """
    best = [0.0]
    starts = [0]
    for end in range(1, len(lengths) + 1):
        cost, start = min(
            (best[start] + (end - start) * lengths[start] + overhead, start)
            for start in range(max(0, end - size), end)
        )
        best.append(cost)
        starts.append(start)
    runs = []
    end = len(lengths)
    while end > 0:
        runs.append((starts[end], end))
        end = starts[end]
    return runs[::-1]


def learning_rate_factor(step: int, total: int, config: OptimizerConfig) -> float:
    """The share of ``learning_rate`` that update ``step`` (from 0) is made with.

    A linear warm-up that does not waste its first update on a rate of 0, then ``config.schedule``.
    """
    warmup = math.ceil(config.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total - warmup)
    if config.schedule == "linear":
        return max(0.0, 1.0 - progress)
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return 1.0
