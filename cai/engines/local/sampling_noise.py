"""The noise that draws are made from: exponential numbers of one row, by its seed and step alone.

On a CPU they are numpy's, 1 ms for a vocabulary of 128,000; on a GPU the device draws them itself, in some
microseconds. The two give other numbers: another machine draws another text, as it rounds otherwise, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

_CHUNK = 32_768  # noise drawn at a time, in numbers


class Noise(Protocol):
    """Exponential noise of one row, a new line per step."""

    def line(self) -> Tensor:
        """(V,) float32, each an independent draw of Exponential(1)."""
        ...


class HostNoise:
    """numpy's, in the computer's memory."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        self._generator = np.random.Generator(np.random.SFC64(seed % 2**64))
        self._vocabulary = vocabulary
        self._lines = max(1, _CHUNK // vocabulary)
        self._drawn = np.empty((0, vocabulary), np.float32)
        self._next = 0

    def line(self) -> Tensor:
        """See ``Noise``."""
        if self._next >= len(self._drawn):
            shape = (self._lines, self._vocabulary)
            self._drawn = self._generator.standard_exponential(shape, dtype=np.float32)
            self._next = 0
        line = self._drawn[self._next]
        self._next += 1
        return torch.from_numpy(line)


class DeviceNoise:
    """The device's own, where the logits are."""

    def __init__(self, seed: int, vocabulary: int, device: torch.device) -> None:
        self._generator = torch.Generator(device).manual_seed(seed % 2**63)
        self._vocabulary, self._device = vocabulary, device

    def line(self) -> Tensor:
        """See ``Noise``."""
        drawn = torch.empty(self._vocabulary, dtype=torch.float32, device=self._device)
        return drawn.exponential_(generator=self._generator)


def noise_of(seed: int, vocabulary: int, device: torch.device) -> Noise:
    """The noise of a row that is drawn on ``device``."""
    return DeviceNoise(seed, vocabulary, device) if device.type == "cuda" else HostNoise(seed, vocabulary)


def noise_lines(rows: Sequence[Noise | None], logits: Tensor) -> Tensor:
    """The next line of each row, beside ``logits`` (B, V): (B, V). Rows that need none (None) have ones."""
    own = logits.device if logits.device.type == "cuda" else torch.device("cpu")
    lines = torch.ones_like(logits, dtype=torch.float32, device=own)
    for number, row in enumerate(rows):
        if row is not None:
            lines[number] = row.line()
    return lines.to(logits.device)
