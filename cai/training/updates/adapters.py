"""Whether LoRA can be put on a model, asked before anything is computed: peft says so late."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from cai.values.errors import TrainingError


def require_adaptable(model: Any, config: Any, path: str) -> None:
    """Raise TrainingError where peft takes no adapter of ``config`` (peft's; None: no LoRA) for ``model``.

    It is tried on a model of the same architecture without weights. ``path`` is the folder that it is from.
    The layers that peft does take are named.
    """
    if config is None:
        return
    reason = _refusal(model, config, config.target_modules)
    if reason is None:
        return
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)}
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    names -= {name.rpartition(".")[2] for name, module in model.named_modules() if module is head}
    names -= set(config.modules_to_save or ())
    usable = sorted(name for name in names if _refusal(model, config, [name]) is None)
    targets = config.target_modules
    wanted = targets if isinstance(targets, str) else ", ".join(sorted(targets))
    named = f"Name layers that it takes (lora.target_modules: [{', '.join(usable)}]), or train"
    raise TrainingError(
        f"LoRA on {wanted} can't be put on {path}, so nothing is trained: {reason} "
        f"{named if usable else 'Train'} without lora."
    )


def _refusal(model: Any, config: Any, targets: str | Sequence[str]) -> str | None:
    """Why peft does not take ``targets``; None where it does, or where that cannot be tried."""
    from peft import get_peft_model

    tried = copy.deepcopy(config)
    tried.target_modules = targets if isinstance(targets, str) else set(targets)
    with torch.random.fork_rng():
        try:
            with torch.device("meta"):
                skeleton = type(model)(model.config)
        except Exception:  # an architecture that cannot be made without weights: the training will say
            return None
        try:
            adapted = get_peft_model(skeleton, tried)
        except Exception as error:  # peft's words
            return str(error).strip().removesuffix(".") + "."
    return _router(adapted)


def _router(adapted: Any) -> str | None:
    """Why an adapter would break a layer that is linear by its class alone, as some experts' routers are."""
    from peft.tuners.lora import LoraLayer

    layers = [module.get_base_layer() for module in adapted.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        own = isinstance(layer, torch.nn.Linear) and type(layer).forward is not torch.nn.Linear.forward
        if own and type(layer).__module__.startswith("transformers.models."):
            return f"{type(layer).__name__} gives more than a linear layer does, and peft adds to one alone."
    return None


def _is_linear(module: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, torch.nn.Linear | Conv1D)
