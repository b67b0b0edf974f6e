"""What a PPO training keeps on disk beside its rollouts: weights and optimizer moments by step.

No random state: whatever is drawn is drawn from (seed, step).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cai.config.train_config import RolloutConfig, named_settings
from cai.training.checkpoint import Workspace, model_fingerprint
from cai.training.result import NOTHING, Spent
from cai.values.types import Prompt

STATE = "state.safetensors"
# How often to save changes no weights; whoever draws, a step's rollouts are on disk once drawn.
_OTHER_SETTINGS = {"save_steps", "save_minutes", "sampler"}


def rl_key(
    method: str, models: Sequence[str], prompts: Sequence[Prompt], config: RolloutConfig, marks: Sequence[str]
) -> str:
    """The hash of everything that determines the weights. ``marks``: seed, fingerprint of the reward …"""
    settings = named_settings(config, _OTHER_SETTINGS)
    parts = [method, *map(model_fingerprint, models), json.dumps(settings, sort_keys=True), *marks]
    parts += [json.dumps([p.id, *((m.role, m.content) for m in p.messages)]) for p in prompts]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def save_state(
    workspace: Workspace,
    step: int,
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    history: Sequence[dict[str, float]],
    *,
    spent: Spent = NOTHING,
) -> None:
    """Make the state after ``step`` steps the newest checkpoint."""
    tensors = {f"weight.{i}": p.detach().cpu() for i, p in enumerate(parameters)}
    for i, p in enumerate(parameters):
        for name, value in optimizer.state.get(p, {}).items():
            tensors[f"{name}.{i}"] = torch.as_tensor(value).detach().cpu().clone()
    written = workspace.fresh("step")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, written / STATE)
    workspace.save_step(written, step, history, spent)


def load_state(
    folder: Path, parameters: Sequence[torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Weights and moments from a checkpoint's folder."""
    tensors = load_file(folder / STATE)
    moments: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        name, _, number = key.rpartition(".")
        i = int(number)
        if name == "weight":
            with torch.no_grad():
                parameters[i].copy_(tensor)
        else:
            moments.setdefault(i, {})[name] = _placed(name, tensor, parameters[i], optimizer)
    for i, state in moments.items():
        optimizer.state[parameters[i]] = state


def _placed(
    name: str, tensor: Tensor, parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer
) -> Tensor | int:
    """As the optimizer keeps it: torch's counts its steps in a tensor in the computer's memory, others in a
    number."""
    if name != "step":
        return tensor.to(parameter.device)
    return tensor if isinstance(optimizer, torch.optim.AdamW) else int(tensor)
