"""The losses of proximal policy optimisation: pure functions of tensors over N response tokens.

Each returns this part's share of a mean over all tokens of the global minibatch (``total`` of them), so
that parts add up to the same loss and gradient, however the tokens are cut into micro-batches or processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Update:
    """Sums over the N tokens of one part; divide by the number of all tokens for means."""

    loss: Tensor
    clipped: Tensor
    kl: Tensor


def policy_loss(
    logprobs: Tensor, old: Tensor, advantages: Tensor, weights: Tensor, *, clip: float, total: float
) -> Update:
    """max(-ρA, -clip(ρ, 1-ε, 1+ε)A) times ``weights``, ρ = exp(logprobs - old): (N,) each → sums.

    Schulman et al. 2017 (arXiv 1707.06347), eq. 7. ``weights`` are ``importance_weights``. ``kl`` is the k3
    estimate (ρ - 1) - log ρ of KL(old ‖ new) (Schulman 2020), for watching only.
    """
    log_ratio = logprobs - old
    ratio = torch.exp(log_ratio)
    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    loss = (torch.maximum(plain, bounded) * weights).sum() / total
    with torch.no_grad():
        return Update(loss, (bounded > plain).sum(), (torch.expm1(log_ratio) - log_ratio).sum())


def value_loss(values: Tensor, old: Tensor, returns: Tensor, *, clip: float, total: float) -> Update:
    """½ max((V - R)², (clip(V, V_old ± ε) - R)²): (N,) each → sums. Huang et al. 2024 (arXiv 2403.17031)."""
    bounded = torch.maximum(torch.minimum(values, old + clip), old - clip)
    plain_error, bounded_error = (values - returns) ** 2, (bounded - returns) ** 2
    loss = 0.5 * torch.maximum(plain_error, bounded_error).sum() / total
    with torch.no_grad():
        return Update(loss, (bounded_error > plain_error).sum(), torch.zeros_like(loss))


def importance_weights(trainer: Tensor, sampler: Tensor, cap: float) -> Tensor:
    """min(π_trainer / π_sampler, cap) per token: (N,), (N,) → (N,), without gradient.

    The tokens were drawn by another program than the one that trains, whose probabilities differ a
    little; cut off above so that single tokens don't rule an update (Yao et al. 2025, truncated
    importance sampling).
    """
    return torch.exp(trainer.detach() - sampler).clamp(max=cap)
