"""From scores to advantages: pure functions of tensors. B responses, R tokens of the longest response.

Every (B, R) tensor is padded on the right; ``mask`` says which entries are tokens. What is summed over
responses takes ``reduce``, which adds a tensor up over all processes, so that whitening sees the whole
batch and not one process's part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Reduce = Callable[[Tensor], Tensor]
"""The sum of a tensor over all processes, on each of them."""


def alone(value: Tensor) -> Tensor:
    """``Reduce`` of a single process."""
    return value


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, beta: float) -> Tensor:
    """-β kl at every token, plus the response's score at its last one: (B,), (B, R) → (B, R).

    ``kl`` is the k1 estimate log π(token) - log π_ref(token). As a part of the *reward* its expected
    gradient is that of the KL divergence; k3 as a loss is biased (Ziegler et al. 2019, eq. 2).
    """
    rewards = torch.where(mask, -beta * kl, torch.zeros_like(kl))
    last = mask.sum(1) - 1
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, last] += scores.to(rewards.dtype)
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimates: (B, R) each → (B, R). Schulman et al. 2016 (arXiv 1506.02438), eq. 16.

    A_t = Σ_l (γλ)^l δ_{t+l}, δ_t = r_t + γ V_{t+1} - V_t, with V = 0 behind the last token. ``values[:, t]``
    is V of the state in which token t is chosen. Zero where ``mask`` is False.
    """
    values, rewards = torch.where(mask, values, 0.0), torch.where(mask, rewards, 0.0)
    advantages = torch.zeros_like(values)
    ahead = torch.zeros_like(values[:, 0])
    following = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * following - values[:, t]
        ahead = torch.where(mask[:, t], delta + gamma * lam * ahead, 0.0)
        advantages[:, t] = ahead
        following = values[:, t]
    return advantages


def moments(values: Tensor, mask: Tensor, reduce: Reduce = alone) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the count) of the masked entries of all processes: (), ()."""
    wide = torch.where(mask, values, 0.0).double()
    sums = reduce(torch.stack([wide.sum(), mask.sum().double()]))
    mean = sums[0] / sums[1]
    squares = torch.where(mask, (values.double() - mean) ** 2, 0.0).sum()
    return mean, reduce(squares) / sums[1]


def whiten(values: Tensor, mask: Tensor, *, shift: bool = True, reduce: Reduce = alone) -> Tensor:
    """Divide by the standard deviation over all tokens of all processes: (B, R) → (B, R).

    ``shift=False`` keeps the mean: rewards are scaled that way, since their sign must stay.
    """
    mean, variance = moments(values, mask, reduce)
    scaled = (values.double() - mean) * torch.rsqrt(variance + 1e-8)
    return torch.where(mask, scaled if shift else scaled + mean, 0.0).to(values.dtype)


@dataclass(frozen=True, slots=True)
class KLController:
    """The price β of a nat of KL, fixed or steered towards ``target`` (Ziegler et al. 2019, §2.2)."""

    beta: float
    target: float | None = None
    horizon: int = 10_000

    def after(self, kl: float, responses: int) -> KLController:
        """The controller after ``responses`` responses whose mean KL was ``kl`` nats."""
        if self.target is None:
            return self
        error = min(0.2, max(-0.2, kl / self.target - 1.0))
        return replace(self, beta=self.beta * (1.0 + error * responses / self.horizon))
