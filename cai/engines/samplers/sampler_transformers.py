"""Sampler on the model in training itself, wherever torch runs: nothing to hand over, slower than vLLM.

Batches are static, sorted by length and as large as ``CACHE_BYTES`` allows. In float32 on a CPU a seed's
draw is the same in any batch (``sampling.py``); log-probabilities then still differ by rounding. While it
draws, the model is in evaluation mode without dropout; afterwards every module is as it was.
Dimensions: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cai.engines.local.answers import TextSide
from cai.engines.local.forward import CausalModel
from cai.engines.local.sampling import Drawer, nameless
from cai.engines.local.sampling_noise import Noise, noise_lines, noise_of
from cai.engines.model_files import cache_bytes_per_token
from cai.engines.samplers.sampler import POLICY_ADAPTER, Draw, check_room
from cai.values.errors import EngineError
from cai.values.types import Sampling

MAX_ROWS = {"cpu": 128, "cuda": 256}
CACHE_BYTES = {"cpu": 3 << 29, "cuda": 8 << 30}  # keys and values of one batch at most
SHRINK = 0.75  # finished rows are dropped when at most this share of the batch is still running


@dataclass(slots=True)
class Row:
    """A response being drawn."""

    place: int
    prompt: list[int]
    limit: int
    noise: Noise
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False

    @property
    def done(self) -> bool:
        return self.ended or len(self.ids) >= self.limit


class TransformersSampler:
    """``sampler.Sampler`` over a transformers model, plain or with LoRA."""

    def __init__(self, model: Any, folder: Path, max_model_len: int | None = None) -> None:
        """``folder`` holds the tokenizer and configuration of ``model``.

        Raises:
            EngineError: the tokenizer cannot be loaded.
        """
        text = TextSide.load(folder, max_model_len)
        self._end_ids = text.end_ids
        self._context = text.context
        self._tokenizer = text.tokenizer
        self._folder = folder
        self._model: Any = model

    @property
    def dtype(self) -> str:
        """See ``Sampler``."""
        return str(next(self._model.parameters()).dtype).removeprefix("torch.")

    def sync(self, model: Any) -> None:
        """From now on, draw from ``model``. What it learns later counts at once."""
        self._model = model

    def sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], max_tokens: int, temperature: float
    ) -> list[Draw]:
        """See ``Sampler``."""
        if self._model is None:
            raise EngineError("the sampler is closed")
        check_room(prompts, self._context)
        vocabulary = int(self._model.get_output_embeddings().weight.shape[0])
        sampling = Sampling(temperature, max_tokens=max_tokens)
        with drawing(self._model), torch.no_grad():
            model = CausalModel(self._model)
            rows = []
            for place, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
                noise = noise_of(seed, vocabulary, model.device)
                rows.append(Row(place, list(prompt), min(max_tokens, self._context - len(prompt)), noise))
            barred = nameless(self._tokenizer, vocabulary, model.device)
            for batch in _batches(rows, model, self._folder):
                _Batch(model, batch, sampling, self._end_ids, barred).run()
        return [Draw(tuple(row.ids), tuple(row.logprobs), "stop" if row.ended else "length") for row in rows]

    def close(self) -> None:
        """See ``Sampler``."""
        self._model = None


class _Batch:
    """Rows that are drawn together, step by step."""

    def __init__(
        self,
        model: CausalModel,
        rows: list[Row],
        sampling: Sampling,
        ends: frozenset[int],
        barred: Tensor | None,
    ) -> None:
        self._model, self._rows, self._sampling, self._ends = model, rows, sampling, ends
        self._barred = barred
        self._drawer = Drawer([sampling] * len(rows), model.device, barred)
        self._exact = model.device.type == "cpu" and model.model.dtype == torch.float32

    def run(self) -> None:
        logits, state = self._model.prompts([row.prompt for row in self._rows])
        logits = logits[:, -1]
        while True:
            tokens = self._advance(logits)
            left = [i for i, row in enumerate(self._rows) if not row.done]
            if not left:
                return
            if len(left) <= SHRINK * len(self._rows):
                kept = torch.tensor(left, device=self._model.device)
                state.keep(kept)
                self._drawer.keep(kept)
                self._rows, tokens = [self._rows[i] for i in left], tokens[kept]
            logits = self._model.step(tokens, state)

    def _advance(self, logits: Tensor) -> Tensor:
        """Append the next token to every row that is not done, from logits (B, V). → the tokens (B,)."""
        noise = noise_lines([None if row.done else row.noise for row in self._rows], logits)
        tokens, close = self._drawer.draw(logits, noise)
        for i in close.nonzero().flatten().tolist() if self._exact else ():
            row = self._rows[i]
            if not row.done:  # too close to call in a batch: from the row alone
                one = Drawer([self._sampling], logits.device, self._barred)
                tokens[i] = one.draw(self._model.alone([*row.prompt, *row.ids]), noise[i : i + 1])[0][0]
        scaled = (logits.float() / self._drawer.temperature).log_softmax(dim=-1)
        logprobs = scaled.gather(1, tokens[:, None])[:, 0].tolist()
        for row, token, logprob in zip(self._rows, tokens.tolist(), logprobs, strict=True):
            if not row.done:
                row.ids.append(token)
                row.logprobs.append(logprob)
                row.ended = token in self._ends
        return tokens


def _batches(rows: Sequence[Row], model: CausalModel, folder: Path) -> Iterator[list[Row]]:
    """All rows, the longest first, in batches whose keys and values fit."""
    device = model.device.type
    whole = model.model.dtype == torch.float32
    per_token = max(1, cache_bytes_per_token(folder, "float32" if whole else "bfloat16"))
    budget, most = CACHE_BYTES.get(device, CACHE_BYTES["cpu"]), MAX_ROWS.get(device, MAX_ROWS["cpu"])
    waiting = sorted(rows, key=lambda row: -(len(row.prompt) + row.limit))
    while waiting:
        longest = len(waiting[0].prompt) + waiting[0].limit
        size = max(1, min(most, budget // (per_token * longest)))
        yield waiting[:size]
        waiting = waiting[size:]


@contextmanager
def drawing(model: Any) -> Iterator[None]:
    """``model`` in evaluation mode and with the policy's adapter on; then as it was."""
    modes = {module: module.training for module in model.modules()}
    adapter = getattr(model, "active_adapter", None) if hasattr(model, "peft_config") else None
    switch = adapter is not None and adapter != POLICY_ADAPTER
    # Switching adapters also switches which of them learn.
    learns = [(weight, weight.requires_grad) for weight in model.parameters()] if switch else []
    model.eval()
    try:
        if switch:
            model.set_adapter(POLICY_ADAPTER)
        yield
    finally:
        if switch:
            model.set_adapter(adapter)
        for weight, flag in learns:
            weight.requires_grad_(flag)
        for module, training in modes.items():
            module.training = training
