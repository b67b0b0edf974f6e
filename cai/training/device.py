"""Where a training runs and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from cai.config.train_config import OptimizerConfig, RolloutConfig
from cai.engines.model_shape import LARGE, WRITTEN_OUT


@dataclass(frozen=True, slots=True)
class Device:
    """``dtype`` is that of the matrix products (autocast); weights and optimizer stay in float32."""

    kind: str
    dtype: torch.dtype
    gradient_checkpointing: bool

    @property
    def overhead(self) -> float:
        """What a forward and backward pass costs beside its tokens, in tokens.

        Measured on a CPU at 2.6M to 5M parameters: best at 40 with one thread, 120 to 300 with two, which
        have to meet after every product. A GPU is idle unless it gets thousands.
        """
        return 60.0 * torch.get_num_threads() if self.kind == "cpu" else 8192.0

    @property
    def autocast(self) -> torch.autocast:
        """The context of every forward pass."""
        return torch.autocast(self.kind, self.dtype, enabled=self.dtype != torch.float32)


def kind() -> str:
    """The best kind of device here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def settings(config: OptimizerConfig | RolloutConfig, parameters: int, where: str | None = None) -> Device:
    """The settings for a model with so many parameters.

    ``auto`` is bfloat16 on a GPU and on a CPU that multiplies it natively, else float32. Recomputing
    activations is slower and only pays where memory is short: for large models on a GPU.
    """
    where = where or kind()
    if config.dtype != "auto":
        dtype = getattr(torch, config.dtype)
    elif where == "cuda" or (where == "cpu" and _native_bfloat16()):
        dtype = torch.bfloat16
    else:
        dtype = torch.float32
    return Device(where, dtype, where == "cuda" and parameters >= LARGE)


def use_fast_attention(model: Any, device: Device, sequences: int, tokens: int) -> None:
    """On a CPU in bfloat16, write attention out as matrix products where its T² values fit into memory.

    The CPU's fused kernel is slow in bfloat16. Forward and backward of the pocket model's shape, sorted
    rows of 100 tokens, one thread: 3,500 tokens/s written out, 2,700 fused; in float32 2,250 and 2,470.
    """
    shape = model.config.get_text_config()
    heads = getattr(shape, "num_attention_heads", 0)  # a state-space model has none
    kept = 8 * sequences * tokens**2 * heads * shape.num_hidden_layers  # bytes
    fused = getattr(model.config, "_attn_implementation", None) == "sdpa"
    if device.kind == "cpu" and device.dtype == torch.bfloat16 and fused and 0 < kept <= WRITTEN_OUT:
        model.set_attn_implementation("eager")


def _native_bfloat16() -> bool:
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
