"""Running a causal model over ragged rows so that every row's answer is what it would be alone.

Where a model may pad, padding stands on the left of a row and nowhere else: windows, chunks and ALiBi count
places in memory, and inside a row those would then not be its positions. ``layouts.py`` says which
architectures may; the rows of others are run in groups of one length, and so are rows beyond the length at
which a model's rotary angles change.

Dimensions: B rows, T tokens (P of a shared beginning, S after it), V vocabulary, K positions kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cai.engines.local.layouts import Layout, arguments, cache_argument, layout_of, rotary_border

SHARED_MINIMUM = 16  # shorter shared beginnings are not worth a forward pass of their own


@dataclass(slots=True)
class Group:
    """Rows that pass through the model together; without padding, rows of one length."""

    rows: Tensor  # (B,) their places in the batch
    cache: Any  # transformers' Cache; None where every step runs all tokens anew
    texts: list[list[int]] | None  # the rows' tokens, where they may have to be run again
    mask: Tensor | None  # (B, T) int64, 0 where padding stands; None where none does
    lengths: Tensor  # (B,) tokens of each row

    def keep(self, inside: Tensor) -> None:
        """Keep only these rows of the group (K,)."""
        if len(inside) == len(self.rows):
            return
        if self.cache is not None:
            self.cache.reorder_cache(inside)  # which also takes fewer rows, in every kind of layer
        self.rows, self.lengths = self.rows[inside], self.lengths[inside]
        self.texts = None if self.texts is None else [self.texts[row] for row in inside.tolist()]
        self.mask = None if self.mask is None else self.mask[inside]


@dataclass(slots=True)
class State:
    """A batch after its prompts: what its next tokens are computed from."""

    groups: list[Group]

    def keep(self, rows: Tensor) -> None:
        """Keep only the rows with these places (K,), ascending; they are then the places 0 … K-1."""
        for group in self.groups:
            group.keep(torch.isin(group.rows, rows).nonzero().flatten())
            group.rows = torch.searchsorted(rows, group.rows)
        self.groups = [group for group in self.groups if len(group.rows)]


class CausalModel:
    """A loaded ``AutoModelForCausalLM`` on one device."""

    def __init__(self, model: Any, layout: Layout | None = None) -> None:
        """``layout``: how rows lie together; by default what is known to be right for the architecture."""
        self.model = model
        self.device = model.device
        self.layout = layout_of(model) if layout is None else layout
        self._takes = arguments(model)
        self._cache_name = cache_argument(self._takes)
        self._border = rotary_border(model.config)

    def prompts(self, rows: Sequence[Sequence[int]], keep: int = 1) -> tuple[Tensor, State]:
        """Run ``rows`` of token ids (ragged) and keep the logits of the last ``keep`` positions.

        Where the layout is ``SHARED``, a beginning that all rows share is run once.

        Returns:
            logits (B, K, V) with K = ``keep``; the state to go on from.
        """
        some: dict[int, list[int]] = defaultdict(list)  # places of the rows that go together
        for place, row in enumerate(rows):
            padded = self.layout.pads and not self._beyond(len(row))
            some[0 if padded else len(row)].append(place)
        parts, groups = [], []
        for length, places in some.items():
            run = self._equal if length else self._padded
            logits, group = run([rows[place] for place in places], places, keep)
            parts.append(logits)
            groups.append(group)
        return self._in_order(parts, groups), State(groups)

    def step(self, tokens: Tensor, state: State) -> Tensor:
        """Append ``tokens`` (B,) to the batch and return the logits (B, V) after them."""
        parts, groups = [], []
        for group in state.groups:
            over = self._over(tokens, group)
            if over is not None:
                parts.append(over[0])
                groups.append(over[1])
            if len(group.rows):
                parts.append(self._step(tokens[group.rows][:, None], group))
                groups.append(group)
        state.groups = groups
        return self._in_order(parts, groups)[:, -1]

    def alone(self, row: Sequence[int], keep: int = 1) -> Tensor:
        """Logits (K, V) of one row's last ``keep`` positions, run without batch, padding or cache.

        The same row gives the same bits, whatever was computed around it.
        """
        ids = torch.tensor([list(row)], device=self.device)
        return self._logits(ids, None, keep)[0]

    # --- with padding -------------------------------------------------------------------

    def _padded(
        self, rows: Sequence[Sequence[int]], places: Sequence[int], keep: int
    ) -> tuple[Tensor, Group]:
        """Logits (B, K, V) and the group of rows that lie against the right edge.

        After a shared beginning of P tokens the rows differ in length. Each is then cut S tokens before its
        end, S being the longest rest: what lies before the cut is in the beginning and comes from the cache,
        shifted to the right edge too, and a shorter row runs again through the end of the beginning, where
        else padding would stand.
        """
        width = max(map(len, rows))
        shared = self._shared(rows, keep)
        ids, mask = left_padded(rows, self.device)
        cache = self._new_cache()
        if shared:
            lengths = mask.sum(dim=1)
            beginning = torch.tensor([list(rows[0][:shared])], device=self.device)
            self._repeat(self._beginning(beginning), (width - lengths).tolist(), cache)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        more = {"attention_mask": mask, "position_ids": positions[:, shared:]}
        logits = self._logits(ids[:, shared:], cache, keep, **more)
        return logits, self._group(rows, places, cache, mask)

    def _beginning(self, ids: Tensor) -> Any:
        """The cache after ids (1, P), in which every layer holds all P places, windowed ones too."""
        from transformers import DynamicCache

        cache = DynamicCache()
        self._logits(ids, cache, 1)
        return cache

    def _repeat(self, beginning: Any, padding: Sequence[int], cache: Any) -> None:
        """Fill ``cache`` with B copies of ``beginning``, each moved right by its row's padding.

        What moves over the edge is lost; the places it came from are masked.
        """
        length = beginning.get_seq_length()
        places = torch.arange(length, device=self.device)
        at = (places - torch.tensor(padding, device=self.device)[:, None]).clamp(min=0)  # (B, P)
        for source, layer in zip(beginning.layers, cache.layers, strict=True):
            # (H, P, D) → (H, B, P, D) → (B, H, P, D)
            keys, values = (whole[0][:, at].transpose(0, 1) for whole in (source.keys, source.values))
            layer.update(keys, values)

    def _shared(self, rows: Sequence[Sequence[int]], keep: int) -> int:
        """Length of the beginning to run once; leaves every row the positions whose logits are kept."""
        if len(rows) < 2 or self.layout is not Layout.SHARED:
            return 0
        shared = min(common_length(rows), min(map(len, rows)) - keep)
        return shared if shared >= SHARED_MINIMUM else 0

    # --- without padding ----------------------------------------------------------------

    def _equal(self, rows: Sequence[Sequence[int]], places: Sequence[int], keep: int) -> tuple[Tensor, Group]:
        """Logits (B, K, V) and the group of rows that are of one length."""
        cache = self._new_cache() if self.layout.caches else None
        logits = self._logits(torch.tensor(list(map(list, rows)), device=self.device), cache, keep)
        return logits, self._group(rows, places, cache, None)

    # --- both ---------------------------------------------------------------------------

    def _group(
        self, rows: Sequence[Sequence[int]], places: Sequence[int], cache: Any, mask: Tensor | None
    ) -> Group:
        again = cache is None or self._border is not None
        texts = list(map(list, rows)) if again else None
        lengths = torch.tensor(list(map(len, rows)), device=self.device)
        return Group(torch.tensor(places, device=self.device), cache, texts, mask, lengths)

    def _beyond(self, length: int) -> bool:
        return self._border is not None and length > self._border

    def _step(self, tokens: Tensor, group: Group) -> Tensor:
        """Logits (B, 1, V) after one more token of each row of a group, (B, 1)."""
        if group.texts is not None:
            for text, token in zip(group.texts, tokens[:, 0].tolist(), strict=True):
                text.append(token)
        more = {"position_ids": group.lengths[:, None]}
        group.lengths = group.lengths + 1
        if group.cache is None:
            return self._logits(torch.tensor(group.texts, device=self.device), None, 1)
        if group.mask is not None:
            group.mask = torch.cat([group.mask, group.mask.new_ones(len(tokens), 1)], dim=1)
            more["attention_mask"] = group.mask
        return self._logits(tokens, group.cache, 1, **more)

    def _over(self, tokens: Tensor, group: Group) -> tuple[Tensor, Group] | None:
        """Logits (B, 1, V) and the new group of the rows that pass the border with their next tokens.

        All their tokens are run anew: those in the cache were turned by other angles. They leave ``group``.
        """
        if self._border is None or group.texts is None:
            return None
        over = group.lengths == self._border
        inside = over.nonzero().flatten()
        if not len(inside):
            return None
        places = group.rows[inside].tolist()
        rows = [
            [*group.texts[row], int(tokens[place])]
            for row, place in zip(inside.tolist(), places, strict=True)
        ]
        group.keep((~over).nonzero().flatten())
        return self._equal(rows, places, 1)

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def _logits(self, ids: Tensor, cache: Any, keep: int, **more: Tensor) -> Tensor:
        """Logits (B, K, V) of the last ``keep`` positions of ids (B, T) after what ``cache`` holds."""
        given: dict[str, Any] = {
            "logits_to_keep": keep, "use_cache": cache is not None, "output_router_logits": False, **more
        }  # fmt: skip
        if self._cache_name is not None:
            given[self._cache_name] = cache
        known = {name: value for name, value in given.items() if name in self._takes}
        logits: Tensor = self.model(input_ids=ids, **known).logits
        return logits[:, -keep:]

    def _in_order(self, parts: Sequence[Tensor], groups: Sequence[Group]) -> Tensor:
        """The groups' logits (B, K, V) in the order of the batch."""
        if len(parts) == 1:
            return parts[0]
        order = torch.cat([group.rows for group in groups])
        return torch.cat(list(parts))[order.argsort()]


def common_length(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with alike: the least and the greatest row differ first."""
    least, greatest = min(map(list, rows)), max(map(list, rows))
    pairs = enumerate(zip(least, greatest, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(least), len(greatest)))


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and a mask (B, T) with 0 for padding, from ragged rows."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, real
