"""Bytes that one step has in memory at most, by what they are for. All of them at the step's worst moment."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
#: Of a process that has torch, transformers, TRL and vLLM loaded and no model (docs/memory.md), in bytes.
RUNTIME = {"cpu": int(1.02 * GIB), "cuda": int(0.75 * GIB)}


@dataclass(frozen=True, slots=True)
class Footprint:
    """``models``: who is in memory, in words. ``cache``: keys and values, and whatever else vLLM reserves."""

    step: str
    models: str
    weights: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    cache: int = 0
    runtime: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        parts = (self.weights, self.gradients, self.optimizer, self.activations, self.cache, self.runtime)
        return sum(parts)
