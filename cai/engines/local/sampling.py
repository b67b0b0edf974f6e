"""Drawing the next token of each row from the row's own noise, whatever else is in the batch.

Gumbel's trick: argmax(log p - log E) with E exponential noise is a draw from p. The noise of a row
(``sampling_noise.py``) depends on its seed and step alone. Rounding in a model's matrix products does depend
on the batch, so a draw whose two best tokens lie closer than that rounding is reported as ``close``: the
engine then draws again from the row computed alone, which makes float32 results independent of the batch.
Dimensions: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cai.values.types import Sampling

# Far above float32 rounding in a model (about 1e-6 to 1e-5), and rare: one draw in some thousands.
CLOSE = 1e-4
CLOSE_MASS = 1e-5


def nameless(tokenizer: Any, vocabulary: int, device: torch.device) -> torch.Tensor | None:
    """The ids (V,) that the model's output layer has and its tokenizer has not; None where there are none.

    A vocabulary is often padded to a round number. A text has no place for such a token: drawn, it would stay
    in the row of ids and be missing from what is read.
    """
    known = torch.tensor([i for i in tokenizer.get_vocab().values() if i < vocabulary], device=device)
    barred = torch.ones(vocabulary, dtype=torch.bool, device=device)
    barred[known] = False
    return barred if barred.any() else None


class Drawer:
    """The sampling parameters of a batch, as tensors (B, 1) beside its logits."""

    def __init__(
        self, samplings: Sequence[Sampling], device: torch.device, barred: torch.Tensor | None = None
    ) -> None:
        """``barred`` (V,): tokens that are never drawn, see ``nameless``."""
        self.barred = barred
        greedy = [s.temperature == 0 for s in samplings]
        self.greedy = torch.tensor(greedy, device=device)[:, None]
        temperatures = [1.0 if s.temperature == 0 else s.temperature for s in samplings]
        self.temperature = torch.tensor(temperatures, device=device)[:, None]
        self.top_p = torch.tensor([s.top_p for s in samplings], device=device)[:, None]
        self.cuts = bool((self.top_p < 1).any())

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only the rows with these indices (K,)."""
        self.greedy, self.temperature = self.greedy[rows], self.temperature[rows]
        self.top_p = self.top_p[rows]

    def draw(self, logits: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Next tokens from ``logits`` (B, V) and exponential ``noise`` (B, V).

        Returns:
            tokens (B,), and whether each draw was too close to call (B,).
        """
        scaled = logits.float() / self.temperature
        if self.barred is not None:
            scaled = scaled.masked_fill(self.barred, float("-inf"))
        close = torch.zeros(len(scaled), dtype=torch.bool, device=scaled.device)
        if self.cuts:
            outside, close = _outside_nucleus(scaled, self.top_p)
            scaled = scaled.masked_fill(outside & ~self.greedy, float("-inf"))
        scores = scaled - torch.where(self.greedy, 0.0, noise.log())
        best = scores.topk(2, dim=-1)
        gap = best.values[:, 0] - best.values[:, 1]
        margin = CLOSE * (1 / self.temperature[:, 0]).clamp(min=1)
        return best.indices[:, 0], close | (gap < margin)


def _outside_nucleus(scaled: torch.Tensor, top_p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B, V) that are not among the most probable ones that together reach ``top_p`` (B, 1).

    Also (B,): whether the border lies closer to a token's edge than rounding can tell.
    """
    probabilities, order = scaled.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    outside = torch.empty_like(scaled, dtype=torch.bool).scatter_(1, order, before >= top_p)
    near = ((before - top_p).abs() < CLOSE_MASS) & (probabilities > CLOSE_MASS)
    return outside, near.any(dim=-1) & (top_p[:, 0] < 1)
