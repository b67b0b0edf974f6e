"""Where a training runs and in which precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cai.config import OptimizerConfig

_SMALL = 20_000_000
_LARGE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Device:
    """``dtype`` is that of the matrix products (autocast); weights and optimizer stay in float32."""

    kind: str
    dtype: torch.dtype
    gradient_checkpointing: bool

    @property
    def overhead(self) -> float:
        """What a forward and backward pass costs beside its tokens, in tokens.

        Measured on a 2-core CPU at 2.6M parameters: about 40. A GPU is idle unless it gets thousands.
        """
        return 40.0 if self.kind == "cpu" else 8192.0

    @property
    def autocast(self) -> torch.autocast:
        """The context of every forward pass."""
        return torch.autocast(self.kind, self.dtype, enabled=self.dtype != torch.float32)


def kind() -> str:
    """The best kind of device here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def settings(config: OptimizerConfig, parameters: int, where: str | None = None) -> Device:
    """The settings for a model with so many parameters.

    ``auto`` is bfloat16 on a GPU and for larger models on a CPU that multiplies bfloat16 natively; float32
    for small ones, where it gains little and runs repeat bit for bit. (Measured with AMX, one thread, forward
    and backward: 1.3 times as fast at 5M parameters, 1.6 at 30M, 1.5 at 135M.)
    Recomputing activations is slower and only pays where memory is short: for large models on a GPU.
    """
    where = where or kind()
    if config.dtype != "auto":
        dtype = getattr(torch, config.dtype)
    elif where == "cuda" or (where == "cpu" and parameters >= _SMALL and _native_bfloat16()):
        dtype = torch.bfloat16
    else:
        dtype = torch.float32
    return Device(where, dtype, where == "cuda" and parameters >= _LARGE)


def _native_bfloat16() -> bool:
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
