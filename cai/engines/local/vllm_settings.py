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
from cai.engines.model_files import cache_bytes_per_token, context_length, resolve_dtype

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


def engine_arguments(config: ModelConfig, folder: Path, gpu: bool) -> dict[str, Any]:
    """EngineArgs by name."""
    dtype = resolve_dtype(config.dtype, folder, gpu)
    context = context_length(folder, config.max_model_len)
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
        return {**shared, "max_model_len": context}
    per_token = cache_bytes_per_token(folder, dtype)
    space = _cache_bytes(per_token)
    context = min(context, space // per_token // BLOCK * BLOCK)
    return {
        **shared,
        "max_model_len": context,
        "enforce_eager": True,
        "block_size": BLOCK,
        "max_num_seqs": CPU_ROWS,
        # With chunked prefill a request's own seed stops the engine on a CPU.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(context, BATCHED_TOKENS),
        "kv_cache_memory_bytes": space,
    }


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
