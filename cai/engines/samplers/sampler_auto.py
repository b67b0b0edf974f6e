"""Sampler that is vLLM's for as long as vLLM takes the model, then the model's own; one line says why."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cai.engines.samplers.sampler import Draw, Sampler
from cai.engines.samplers.sampler_transformers import TransformersSampler
from cai.engines.samplers.sampler_vllm import VLLMSampler
from cai.values.errors import EngineError

_LOG = logging.getLogger("cai.engines")


class AutoSampler:
    """``sampler.Sampler`` over either. What vLLM cannot load, or not load anew, is drawn by transformers."""

    def __init__(
        self,
        model: Any,
        folder: Path,
        max_model_len: int | None = None,
        *,
        dtype: str = "auto",
        vllm: Mapping[str, Any] | None = None,
        early: Sampler | None = None,
        fault: Exception | None = None,
    ) -> None:
        """Raises EngineError where neither can draw from ``model``, whose tokenizer is in ``folder``.

        ``vllm``: further arguments of vLLM's. ``early``: vLLM's sampler where it has been started; ``fault``
        says why it could not be.
        """
        self._folder, self._longest = folder, max_model_len
        self._sampler: Sampler
        if fault is not None:
            self._fall(model, fault)
            return
        try:
            self._sampler = early or VLLMSampler(folder, dtype, max_model_len, vllm)
        except (EngineError, ImportError) as error:
            self._fall(model, error)

    @property
    def dtype(self) -> str:
        """See ``Sampler``."""
        return self._sampler.dtype

    def sync(self, model: Any) -> None:
        """See ``Sampler``."""
        try:
            self._sampler.sync(model)
        except EngineError as error:
            if isinstance(self._sampler, TransformersSampler):
                raise
            self._sampler.close()
            self._fall(model, error)

    def sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], max_tokens: int, temperature: float
    ) -> list[Draw]:
        """See ``Sampler``."""
        return self._sampler.sample(prompts, seeds, max_tokens, temperature)

    def close(self) -> None:
        """See ``Sampler``."""
        self._sampler.close()

    def _fall(self, model: Any, error: Exception) -> None:
        _LOG.warning("transformers draws the responses, not vLLM: %s", error)
        self._sampler = TransformersSampler(model, self._folder, self._longest)
