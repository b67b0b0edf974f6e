"""Muon: momentum whose matrix updates are made orthogonal by five Newton-Schulz steps (Jordan 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(g: Tensor) -> Tensor:
    """Approximately U·Vᵀ of g [rows, columns]."""
    a, b, c = COEFFICIENTS
    tall = g.shape[0] > g.shape[1]
    x = (g.T if tall else g).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        s = x @ x.T
        x = a * x + (b * s + c * (s @ s)) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """For the matrices of the blocks; a matrix that stacks ``parts`` others is treated part by part."""

    def __init__(self, groups: list[dict[str, object]], lr: float, momentum: float = 0.95):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "parts": 1})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"])
                for part, weight in zip(
                    update.chunk(group["parts"]), p.data.chunk(group["parts"]), strict=True
                ):
                    scale = max(1.0, part.shape[0] / part.shape[1]) ** 0.5
                    weight.add_(orthogonal(part), alpha=-group["lr"] * scale)
