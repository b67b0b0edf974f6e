"""How vLLM is set up: arguments, environment variables, and undoing what it does to the process.

The settings for a CPU were measured (start-up in seconds instead of a minute, 1.4 to 1.8 times the
throughput); a GPU gets vLLM's defaults.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from cai.config.run_config import ModelConfig
from cai.engines.model_files import (
    DtypeName,
    cache_bytes_per_token,
    context_length,
    model_config,
    resolve_dtype,
)
from cai.values.errors import EngineError

CPU_ROWS = 256
# Keys and values on a CPU: room for this many tokens, within these bytes. All of it becomes resident.
CACHE_TOKENS = CPU_ROWS * 512
CACHE_BYTES = (256 << 20, 2 << 30)
BLOCK = 32
BATCHED_TOKENS = 8192
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process: quick to load, and both cores for the model
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
#: Architectures that vLLM loads without an error and computes otherwise than transformers, and what it does.
#: ``python -m benchmarks.compatibility`` finds them.
DIFFERENT = {
    "gpt_neox": "leaves out its output layer (embed_out) and draws from a random one",
    "ernie4_5_moe": "computes other probabilities (0.2 nats apart on a tiny model, for a reason not known)",
    "persimmon": "computes other probabilities (4.5 nats apart on a tiny model, for a reason not known)",
    "lfm2_moe": "computes other probabilities (0.7 nats apart on a tiny model, for a reason not known)",
    **dict.fromkeys(
        ("gemma3n", "gemma3n_text"),
        "computes its per-layer inputs otherwise (0.03 nats apart on a tiny model that was trained)",
    ),
}
#: Architectures of which vLLM keeps some numbers in bfloat16, whatever else is computed in float32.
ROUNDED = {"apertus": "rounds its activation's numbers (alpha_p, alpha_n) to bfloat16, in float32 too"}
#: Their windows hold one token more in vLLM than in transformers: texts beyond the window would differ.
_WIDER_WINDOW = {"cohere2", "cohere2_moe"}
#: States between tokens, which vLLM caches for prefixes only where it prefills in chunks: not on a CPU.
_STATES = {"mamba", "falcon_mamba", "minimax"}


def prepare_environment(gpu: bool) -> None:
    """Set vLLM's environment variables that the user has not set. Before vLLM is imported."""
    wanted = ENVIRONMENT if gpu else {**ENVIRONMENT, "TORCH_COMPILE_DISABLE": "1"}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
    # Dynamo reads its variable at import, which may be behind us.
    dynamo = sys.modules.get("torch._dynamo.config")
    if dynamo is not None and os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        dynamo.disable = True  # type: ignore[attr-defined]


def different(folder: Path, dtype: DtypeName) -> str | None:
    """How vLLM in ``dtype`` is known to compute something else of the model in ``folder``; None: in none."""
    kind = model_config(folder).get("model_type")
    what = DIFFERENT.get(str(kind)) or (ROUNDED.get(str(kind)) if dtype == "float32" else None)
    return f"{folder} is a {kind}, and vLLM {what}" if what else None


def engine_arguments(config: ModelConfig, folder: Path, gpu: bool) -> dict[str, Any]:
    """EngineArgs by name.

    Raises:
        EngineError: vLLM would load the model and compute something else.
    """
    dtype = resolve_dtype(config.dtype, folder, gpu)
    if words := different(folder, dtype):
        raise EngineError(f"{words}. Use engine: transformers and, in a training, sampler: transformers.")
    kind = str(model_config(folder).get("model_type"))
    context = context_length(folder, config.max_model_len)
    if kind in _WIDER_WINDOW:
        context = min(context, int(model_config(folder).get("sliding_window") or context))
    shared = {
        "model": str(folder),
        "dtype": dtype,
        "seed": 0,
        "trust_remote_code": False,
        "disable_log_stats": True,
        "generation_config": "vllm",  # sampling comes from the request alone
        "use_tqdm_on_load": False,
        "enable_prefix_caching": True,
    }
    if gpu:
        return {**shared, "max_model_len": context, **config.vllm}
    per_token = cache_bytes_per_token(folder, dtype)
    space = _cache_bytes(per_token)
    context = min(context, space // per_token // BLOCK * BLOCK)
    return {
        **shared,
        "max_model_len": context,
        "enforce_eager": True,
        "block_size": BLOCK,
        "max_num_seqs": CPU_ROWS,
        "enable_prefix_caching": not _carries_a_state(kind),
        # With chunked prefill a request's own seed stops the engine on a CPU.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(context, BATCHED_TOKENS),
        "kv_cache_memory_bytes": space,
        **config.vllm,
    }


def _carries_a_state(kind: str) -> bool:
    """Whether layers of this architecture carry a state from token to token."""
    from cai.engines.local.layouts import LAYOUTS, Layout

    return kind in _STATES or LAYOUTS.get(kind) is Layout.PADDED


def leave_classes_alone() -> None:
    """Keep vLLM from changing transformers' own classes in this process. After vLLM is imported, on a CPU.

    For an architecture that it has no code for it runs transformers' classes and decorates them for
    compilation; from then on nobody else can make a model of them. On a CPU nothing is compiled anyway.
    """
    from vllm.model_executor.models.transformers import base

    def undecorated(**settings: Any) -> Any:
        return lambda cls: cls

    vars(base)["support_torch_compile"] = undecorated


MOST_BIASES = 1024
"""Tokens that a request may bias on a GPU (vLLM's ``MAX_NUM_LOGIT_BIAS_TOKENS``)."""
_NEVER = -100.0  # nats, the strongest that vLLM takes


def bars(tokenizer: Any, vocabulary: int, gpu: bool) -> dict[int, float] | None:
    """The ``logit_bias`` with which no id is drawn that has no token (see ``sampling.nameless``).

    ``allowed_token_ids`` would name the whole vocabulary in every request.

    Raises:
        EngineError: there are more of them than vLLM takes.
    """
    import torch

    from cai.engines.local.sampling import nameless

    barred = nameless(tokenizer, vocabulary, torch.device("cpu"))
    ids = [] if barred is None else barred.nonzero().flatten().tolist()
    if gpu and len(ids) > MOST_BIASES:
        raise EngineError(
            f"{len(ids)} of the model's {vocabulary} ids have no token, and on a GPU vLLM can bar "
            f"{MOST_BIASES} from being drawn. Use engine: transformers and sampler: transformers."
        )
    return dict.fromkeys(ids, _NEVER) or None


def _cache_bytes(per_token: int) -> int:
    """Bytes for keys and values on a CPU; VLLM_CPU_KVCACHE_SPACE (GiB) decides where it is set."""
    wanted = os.environ.get("VLLM_CPU_KVCACHE_SPACE")
    if wanted and wanted.isdigit():
        return int(wanted) << 30
    least, most = CACHE_BYTES
    return max(least, min(CACHE_TOKENS * per_token, most, _available_bytes() // 4))


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def is_cpu_build() -> bool:
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def affinity() -> set[int] | None:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def restore_threads(set_num_threads: Any, threads: int, affinity: set[int] | None) -> None:
    """Undo what vLLM's CPU worker does to the process: training follows in it.

    It replaces ``torch.set_num_threads`` by a warning, and may bind the thread to cores.
    """
    import torch

    torch.set_num_threads = set_num_threads
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if affinity is not None and os.sched_getaffinity(0) != affinity:
        os.sched_setaffinity(0, affinity)
