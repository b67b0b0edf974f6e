"""Running a causal model over ragged rows: left padding, key/value reuse for a shared beginning.

Dimensions: B rows, T tokens (P of a shared prefix, S of the rest), V vocabulary, K positions kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

SHARED_MINIMUM = 16  # shorter shared beginnings are not worth a forward pass of their own


@dataclass(slots=True)
class State:
    """A batch after its prompts: the cache, which cached positions are real, and the rows' lengths."""

    cache: Any  # transformers' Cache
    mask: torch.Tensor  # (B, T) int64, 0 where padding stands
    lengths: torch.Tensor  # (B,) tokens of each row

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only the rows with these indices (K,)."""
        self.cache.batch_select_indices(rows)
        self.mask, self.lengths = self.mask[rows], self.lengths[rows]


class CausalModel:
    """A loaded ``AutoModelForCausalLM`` on one device."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = model.device

    def prompts(self, rows: Sequence[Sequence[int]], keep: int = 1) -> tuple[torch.Tensor, State]:
        """Run ``rows`` of token ids (ragged) and keep the logits of the last ``keep`` positions.

        A beginning that all rows share is run once.

        Returns:
            logits (B, K, V) with K = ``keep``; the state to go on from.
        """
        from transformers import DynamicCache

        shared = self._shared(rows, keep)
        cache = DynamicCache(config=self.model.config)
        if shared:
            self._run(rows[0][:shared], cache)
            cache.batch_repeat_interleave(len(rows))
        ids, real = left_padded([row[shared:] for row in rows], self.device)
        mask = torch.cat([real.new_ones(len(rows), shared), real], dim=1)
        positions = (shared + real.cumsum(dim=1) - 1).clamp(min=0)
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return out.logits, State(out.past_key_values, mask, mask.sum(dim=1))

    def step(self, tokens: torch.Tensor, state: State) -> torch.Tensor:
        """Append ``tokens`` (B,) to the batch and return the logits (B, V) after them."""
        state.mask = torch.cat([state.mask, state.mask.new_ones(len(tokens), 1)], dim=1)
        out = self.model(
            input_ids=tokens[:, None],
            attention_mask=state.mask,
            position_ids=state.lengths[:, None],
            past_key_values=state.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        state.lengths = state.lengths + 1
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    def alone(self, row: Sequence[int], keep: int = 1) -> torch.Tensor:
        """Logits (K, V) of one row's last ``keep`` positions, run without batch, padding or cache.

        The same row gives the same bits, whatever was computed around it.
        """
        logits: torch.Tensor = self._run(row, None, keep).logits[0]
        return logits

    def _run(self, row: Sequence[int], cache: Any, keep: int = 1) -> Any:
        ids = torch.tensor([list(row)], device=self.device)
        return self.model(
            input_ids=ids, past_key_values=cache, use_cache=cache is not None, logits_to_keep=keep
        )

    def _shared(self, rows: Sequence[Sequence[int]], keep: int) -> int:
        """Length of the beginning to run once; leaves every row the positions whose logits are kept."""
        if len(rows) < 2:
            return 0
        shared = min(common_length(rows), min(map(len, rows)) - keep)
        return shared if shared >= SHARED_MINIMUM else 0


def common_length(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with alike: the least and the greatest row differ first."""
    least, greatest = min(map(list, rows)), max(map(list, rows))
    pairs = enumerate(zip(least, greatest, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(least), len(greatest)))


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (B, S) and a mask (B, S) with 0 for padding, from ragged rows."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, real
