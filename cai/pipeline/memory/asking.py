"""What a model that answers has in memory: its weights, keys and values, and what a pass of it needs.

On a CPU vLLM reserves keys and values by cai's rule (``engines/local/vllm_settings.py``), on a GPU it takes a
share of the whole card, weights included.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from cai.config.run_config import ModelConfig
from cai.engines.local.vllm_settings import BATCHED_TOKENS, BLOCK, CACHE_BYTES, CACHE_TOKENS, CPU_ROWS
from cai.engines.machine import Machine
from cai.engines.model_files import SMALL
from cai.engines.model_shape import ModelShape
from cai.pipeline.memory.footprint import RUNTIME, Footprint

SHARE = 0.92  # of a GPU that vLLM takes by itself
LEAST = 4096  # tokens of keys and values without which there is no use in vLLM
_BATCH = {"cpu": (128, 3 << 29), "cuda": (256, 8 << 30)}  # rows and bytes of engines/local/transformers.py
#: Bytes of a linear layer's weight under a way of quantizing that vLLM knows; others count as not quantized.
_QUANTIZED = {
    **dict.fromkeys(("fp8", "fbgemm_fp8", "modelopt", "compressed-tensors", "int8", "torchao"), 1.02),
    **dict.fromkeys(("bitsandbytes", "awq", "awq_marlin", "gptq", "gptq_marlin", "mxfp4"), 0.55),
}
_STREAMS = 8  # values of width ``hidden`` and ``inner`` that a pass without gradients has at once, measured


@dataclass(frozen=True, slots=True)
class Drawing:
    """Bytes of ``activations`` of a pass without gradients, and of the ``cache`` of keys and values."""

    activations: int
    cache: int


def size_of(wanted: str, shape: ModelShape, machine: Machine) -> int:
    """Bytes of a weight, as ``engines/model_files.resolve_dtype`` has it."""
    if wanted != "auto":
        return 4 if wanted == "float32" else 2
    if machine.kind == "cuda":
        return 2
    return 2 if shape.weights >= SMALL and machine.bfloat16 else 4


def per_token(shape: ModelShape, size: int) -> int:
    """Bytes of keys and values of a token."""
    return 2 * shape.layers * shape.keys * size


def asked(
    step: str,
    who: str,
    model: ModelConfig,
    shape: ModelShape,
    *,
    machine: Machine,
    tokens: int,
    vllm: bool,
) -> Footprint:
    """One model that answers with up to ``tokens`` of prompt and answer."""
    size = size_of(model.dtype, shape, machine)
    weights = _weights(model, shape, size)
    drawn = (
        in_vllm(model.vllm, shape, machine, size, tokens=tokens, weights=weights)
        if vllm
        else in_transformers(shape, machine, size, tokens)
    )
    return Footprint(
        step,
        f"{who}{' in vLLM' if vllm else ''}",
        weights=weights,
        activations=drawn.activations,
        cache=drawn.cache,
        runtime=RUNTIME[machine.kind],
    )


def _weights(model: ModelConfig, shape: ModelShape, size: int) -> int:
    """Bytes of the model on each of its GPUs."""
    quantized = _QUANTIZED.get(str(model.vllm.get("quantization")))
    tables = shape.vocabulary * shape.hidden + shape.output_layer
    whole = size * shape.weights
    if quantized is not None:
        whole = int(quantized * (shape.weights - tables)) + size * tables
    return whole // _parallel(model.vllm)


def _parallel(arguments: Mapping[str, Any]) -> int:
    """GPUs that share a model's weights."""
    counts = [arguments.get(name) for name in ("tensor_parallel_size", "pipeline_parallel_size")]
    return prod(count for count in counts if isinstance(count, int) and count > 0)


def in_vllm(
    arguments: Mapping[str, Any], shape: ModelShape, machine: Machine, size: int, *, tokens: int, weights: int
) -> Drawing:
    """As an engine of its own, which on a GPU has the card to itself."""
    if machine.kind == "cpu":
        return Drawing(_batch(shape, size), _cpu_cache(shape, machine, size))
    gpus, batch = _parallel(arguments), _batch(shape, size)
    share = arguments.get("gpu_memory_utilization", SHARE)
    reserved = int((share if isinstance(share, int | float) else SHARE) * machine.memory)
    least = max(LEAST, tokens) * per_token(shape, size) // gpus
    left = reserved - weights - batch // gpus - RUNTIME["cuda"]  # which is within the share, too
    return Drawing(batch // gpus, max(least, left))


def sampled(shape: ModelShape, machine: Machine, size: int, tokens: int, left: int) -> Drawing:
    """As a sampler beside a learner that leaves ``left`` bytes (``engines/samplers/sampler_vllm.py``)."""
    batch, one = _batch(shape, size), per_token(shape, size)
    if machine.kind == "cpu":
        rows = (CPU_ROWS + 1) * (-(-tokens // BLOCK) * BLOCK) * one
        return Drawing(batch, min(_cpu_cache(shape, machine, size), rows))
    room = left - size * shape.weights - batch
    return Drawing(batch, max(max(LEAST, 4 * tokens) * one, min(CACHE_TOKENS * one, room)))


def _cpu_cache(shape: ModelShape, machine: Machine, size: int) -> int:
    """Bytes that vLLM reserves for keys and values on a CPU."""
    wanted = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "")
    if wanted.isdigit():
        return int(wanted) << 30
    least, most = CACHE_BYTES
    return max(least, min(CACHE_TOKENS * per_token(shape, size), most, machine.memory // 4))


def _batch(shape: ModelShape, size: int) -> int:
    """Bytes of a pass over as many tokens as vLLM takes at once, and of the logits of its rows."""
    stream = BATCHED_TOKENS * (_STREAMS * shape.hidden + 3 * shape.inner) * size
    return stream + CPU_ROWS * shape.vocabulary * 4


def in_transformers(
    shape: ModelShape, machine: Machine, size: int, tokens: int, wanted: int | None = None
) -> Drawing:
    """As many rows as are drawn together, of ``wanted`` in all, and their logits."""
    rows, most = _BATCH[machine.kind]
    row = tokens * per_token(shape, size)
    rows = max(1, min(rows, wanted or rows, most // max(1, row)))
    stream = rows * tokens * (_STREAMS * shape.hidden + 3 * shape.inner) * size
    return Drawing(stream + 4 * rows * shape.vocabulary * 4, rows * row)
