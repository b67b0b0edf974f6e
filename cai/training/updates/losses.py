"""The losses, as pure functions of tensors. B rows, T tokens, N completion tokens of all rows, V vocabulary.

z is the logit of a preference model, P(chosen preferred) = sigmoid(z); for DPO it is ``dpo_logits``. p is the
label, P(chosen preferred) according to whoever judged.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_ELEMENTS = 1 << 24
"""Logits turned into float32 probabilities at a time: 64 MiB."""


def dpo_logits(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float
) -> Tensor:
    """β [(log π(y_w) - log π_ref(y_w)) - (log π(y_l) - log π_ref(y_l))]: (B,) each → (B,).

    The argument of the sigmoid in Rafailov et al. 2023 (arXiv 2305.18290), eq. 7.
    """
    return beta * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected))


def bce(z: Tensor, p: Tensor) -> Tensor:
    """-log sigmoid(z) + (1-p) z: (B,) → (B,). The cross-entropy between the label and sigmoid(z),

    -p log sigmoid(z) - (1-p) log sigmoid(-z), with its minimum at sigmoid(z) = p. For DPO it is cDPO
    (Mitchell 2023) with each label's own error rate 1-p.
    """
    return -F.logsigmoid(z) + (1.0 - p) * z


def geometric(z: Tensor, p: Tensor) -> Tensor:
    """-log sigmoid((2p-1) z): (B,) → (B,). Furuta et al. 2024 (arXiv 2409.06691), GDPO.

    DPO on the weighted geometric means of the two responses: a tie has no gradient at all, where ``bce``
    would pull the pair towards equality.
    """
    return -F.logsigmoid((2.0 * p - 1.0) * z)


PREFERENCE_LOSSES = {"bce": bce, "geometric": geometric}


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """log softmax(logits)[targets] in float32: (N, V), (N,) → (N,).

    Keeps nothing of size N * V for the backward pass but the logits themselves.
    """
    result: Tensor = _TokenLogprobs.apply(logits, targets)  # type: ignore[no-untyped-call]
    return result


def sequence_logprobs(logits: Tensor, ids: Tensor, completion: Tensor) -> Tensor:
    """log P of each row's completion: logits (N, V), ids (B, T), completion (B, T) bool → (B,).

    ``logits`` are those that predict the tokens marked in ``completion``, row after row: N is the number
    of marks. A completion never starts at the first token of a row.
    """
    marked = completion[:, 1:]
    values = token_logprobs(logits, ids[:, 1:][marked])
    rows = marked.nonzero()[:, 0]
    return torch.zeros(ids.shape[0], dtype=values.dtype, device=values.device).index_add(0, rows, values)


def weighted_mean(values: Tensor, weights: Tensor, total_weight: Tensor | float) -> Tensor:
    """This batch's part of a mean that several batches share: (B,), (B,) → ().

    Parts add up to the mean over all rows, however they are split, since ``total_weight`` is the sum of
    the weights of *all* batches.
    """
    return (values * weights).sum() / total_weight


class _TokenLogprobs(torch.autograd.Function):
    """∂/∂logits log softmax(logits)[t] = onehot(t) - softmax(logits), recomputed a chunk at a time."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        exact = logits.dtype if logits.dtype == torch.float64 else torch.float32
        size = max(1, _CHUNK_ELEMENTS // logits.shape[-1])
        norms = [torch.logsumexp(part.to(exact), dim=-1) for part in torch.split(logits, size)]
        norm = torch.cat(norms) if norms else logits.new_zeros(0, dtype=exact)
        ctx.save_for_backward(logits, targets, norm)
        ctx.size, ctx.exact = size, exact
        return logits.gather(1, targets[:, None])[:, 0].to(exact) - norm

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits, targets, norm = ctx.saved_tensors
        out = torch.empty_like(logits)
        for start in range(0, logits.shape[0], ctx.size):
            rows = slice(start, start + ctx.size)
            part = torch.exp(logits[rows].to(ctx.exact) - norm[rows, None]).mul_(-grad[rows, None])
            out[rows] = part.scatter_add_(1, targets[rows, None], grad[rows, None])
        return out, None
