"""Training without the noise that a checkpoint's configuration asks for: dropout, a router's jitter.

A loss that compares two passes means nothing where every pass draws another network: DPO's first loss would
not be ln 2, a policy's first ratio not 1. An adapter's own ``lora_dropout`` is a setting of cai's and stays.
"""

from __future__ import annotations

from typing import Any

from torch import nn

_NOISES = ("dropout", "jitter")


def without_noise(model: nn.Module) -> None:
    """Set every such rate to 0, before an adapter is laid on.

    Models keep them as modules, as numbers of a module, or read them from their configuration as they
    compute; the configuration that is saved then says how the model was trained.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        _quieten(module)
        if (config := getattr(module, "config", None)) is not None:
            _quieten(config)


def _quieten(holder: Any) -> None:
    for name, value in vars(holder).items():
        if isinstance(value, float) and value and any(noise in name for noise in _NOISES):
            setattr(holder, name, 0.0)
