"""A reward model as ``Reward``: any sequence-classification checkpoint with one label.

    reward = RewardModel("runs/latest/checkpoints/reward")
    scored = await reward.score([Response(prompt, "No.")])

It has a tokenizer and a chat template of its own, so it may be another family than the policy. Its reward
is the model's output less ``reward_center`` of its config.json. Decoder-only models are read at the last
token that the template prints of the conversation, as whoever loads them reads them with
``apply_chat_template`` and ``AutoModelForSequenceClassification``; others as their own ``forward`` says.
B sequences, T tokens.
"""

from __future__ import annotations

import gc
import hashlib
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cai.chat.encoding import encode_answered
from cai.chat.tokenizer_files import load_tokenizer, require_room
from cai.engines.model_files import content_hash, context_length, model_config, resolve_dtype
from cai.rewards.reward import Scored
from cai.run.threads import apart
from cai.values.errors import ItemError, UsageError
from cai.values.types import Response

MAX_TOKENS = {"cpu": 8192, "cuda": 131072}  # of one forward pass, padding counted
MAX_ROWS = 256


def end_rewards(model: Any, ids: Tensor, attention: Tensor) -> Tensor:
    """The output at each sequence's last attended token: (B, T), (B, T) → (B,) in the head's precision.

    The position comes from the mask, never from token ids: padding may be a token that also ends a turn.
    Only B hidden states pass through the head. Works on a model inside peft's wrapper, too.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = getattr(plain, "score", None)
    if head is None:  # an encoder: it reads its first token, or pools
        return torch.as_tensor(model(input_ids=ids, attention_mask=attention).logits[:, 0])
    hidden = plain.base_model(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    last = (attention * places).argmax(dim=1)
    ends = hidden[torch.arange(len(ids), device=ids.device), last]
    with torch.autocast(ids.device.type, enabled=False):  # the difference of two rewards needs every bit
        return torch.as_tensor(head(ends.to(next(head.parameters()).dtype)).squeeze(-1))


class RewardModel:
    """``reward.Reward`` over one model, which is loaded at the first question."""

    def __init__(self, folder: str | Path, *, name: str | None = None, max_length: int | None = None) -> None:
        """``max_length``: tokens of a conversation; the model's own context where it is not given.

        Raises:
            UsageError: the folder holds no model, or one that does not give one number.
        """
        self._folder = Path(folder)
        config = model_config(self._folder)
        _check_labels(self._folder, config)
        self.name = name or self._folder.name
        self._context = context_length(self._folder, max_length)
        self._center = float(config.get("reward_center") or 0.0)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        # On a CPU always in full: scores then do not depend on what else is in the batch.
        self._dtype = resolve_dtype("auto", self._folder, gpu=True) if self._device == "cuda" else "float32"
        parts = [
            "reward model, read at the template's last token",
            content_hash(self._folder),
            self._dtype,
            str(self._context),
        ]
        self.fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    async def score(self, responses: Sequence[Response]) -> list[Scored]:
        """One ``Scored`` per response, in order; a conversation that is too long is unscored.

        Raises:
            UsageError: the model or its tokenizer cannot be used.
        """
        return await apart(self._score, list(responses))

    async def close(self) -> None:
        """Free the model's memory; it is loaded again when it is needed again."""
        with self._lock:
            self._loaded = None
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()

    def _score(self, responses: Sequence[Response]) -> list[Scored]:
        with self._lock:
            model, tokenizer = self._load()
            found: dict[int, Scored] = {}
            rows: dict[int, list[int]] = {}
            for index, response in enumerate(responses):
                try:
                    rows[index] = self._encode(tokenizer, response)
                except ItemError as error:
                    found[index] = Scored(None, str(error))
            for batch in of_similar_length(rows, MAX_TOKENS[self._device]):
                values = self._forward(model, tokenizer, [rows[index] for index in batch])
                found |= zip(batch, map(self._scored, values), strict=True)
            return [found[index] for index in range(len(responses))]

    def _encode(self, tokenizer: Any, response: Response) -> list[int]:
        ids = encode_answered(tokenizer, response.prompt.messages, response.text)
        if len(ids) > self._context:
            raise ItemError(
                "too long for the reward model", f"{len(ids)} tokens, but it takes {self._context}"
            )
        return ids

    def _forward(self, model: Any, tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[float]:
        """Outputs of ragged rows, padded on the right."""
        width = max(map(len, rows))
        pad = next((i for i in (model.config.pad_token_id, tokenizer.pad_token_id) if i is not None), 0)
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=self._device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self._device)
        with torch.inference_mode():
            values: list[float] = end_rewards(model, ids, real).double().tolist()
        return values

    def _scored(self, value: float) -> Scored:
        if not math.isfinite(value):
            return Scored(None, f"the reward model gave {value}")
        return Scored(value - self._center)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            model, tokenizer = load_classifier(self._folder, self._dtype)
            self._loaded = model.to(self._device), tokenizer
        return self._loaded


def _check_labels(folder: Path, config: dict[str, Any]) -> None:
    names = config.get("architectures") or []
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        raise UsageError(
            f"{folder} is a language model ({names[0]}), not a reward model. Train one from it with "
            "cai train reward, or name the folder of a sequence-classification model with one label."
        )
    labels = len(config["id2label"]) if config.get("id2label") else config.get("num_labels", 2)
    if labels != 1:
        raise UsageError(
            f"{folder} gives {labels} numbers per text, and a reward is one. Name a sequence-classification "
            "model that was saved with num_labels=1, or a function (reward.source: file.py:function)."
        )


def load_classifier(folder: Path, dtype: str, what: str = "reward model") -> tuple[Any, Any]:
    """A sequence-classification model and its tokenizer; ``what`` it is called where it cannot be had.

    Raises:
        UsageError: they cannot be loaded, have no head, or do not belong together.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        tokenizer = load_tokenizer(folder)
    except Exception as error:  # a broken file may raise anything
        raise UsageError(f"the {what} in {folder} cannot be loaded: {error}") from error
    if loaded["missing_keys"]:
        raise UsageError(
            f"the {what} in {folder} lacks weights: {', '.join(sorted(loaded['missing_keys']))}. "
            "Was its head lost when it was saved? Train it or save it again."
        )
    require_room(tokenizer, int(model.get_input_embeddings().weight.shape[0]), folder, what)
    head = getattr(model, "score", None)
    if head is not None:
        head.float()
    return model.eval().requires_grad_(False), tokenizer


def of_similar_length(rows: dict[int, list[int]], max_tokens: int) -> Iterator[list[int]]:
    """Numbers of rows of similar length, the longest first, as many as fit."""
    order = sorted(rows, key=lambda index: (-len(rows[index]), index))
    while order:
        size = max(1, min(MAX_ROWS, max_tokens // len(rows[order[0]])))
        yield order[:size]
        order = order[size:]
