"""The arguments of vLLM that a user gives (``model.vllm``): which there are, and which tell models apart.

Which names there are, vLLM's own source says: it is read, not run, since importing vLLM takes half a minute.
An argument counts as part of a model's identity unless it is known to say where the model is and how fast,
so that one that nobody here has heard of rather asks anew than passes off another model's answers. Numbers of
GPUs and sizes of batches change how sums are rounded, as a batch's company does: they are no other model.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cai.config.run_config import ModelConfig
from cai.values.errors import UsageError
from cai.values.words import did_you_mean

#: Several GPUs or computers for one model. A sampler in a training has one.
PARALLEL = frozenset(
    {"tensor_parallel_size", "pipeline_parallel_size", "distributed_executor_backend"}
    | {"enable_expert_parallel", "device_ids"}
)
#: Where a model is, how fast it answers, what is logged of it.
PLACING = PARALLEL | {
    *("gpu_memory_utilization", "kv_cache_memory_bytes", "num_gpu_blocks_override", "block_size"),
    *("max_num_seqs", "max_num_batched_tokens", "max_num_scheduled_tokens", "max_parallel_loading_workers"),
    *("cpu_offload_gb", "offload_backend", "kv_offloading_size", "kv_offloading_backend"),
    *("enforce_eager", "cudagraph_capture_sizes", "max_cudagraph_capture_size", "compilation_config"),
    *("enable_prefix_caching", "enable_chunked_prefill", "disable_custom_all_reduce", "async_scheduling"),
    *("numa_bind", "numa_bind_nodes", "numa_bind_cpus", "safetensors_load_strategy", "swap_space"),
}
_OURS = {
    "model": "model.name",
    "tokenizer": "model.name",
    "dtype": "model.dtype",
    "max_model_len": "model.max_model_len",
    "revision": "model.revision",
    "tokenizer_revision": "model.revision",
    "seed": "the run's seed",
    "max_logprobs": "nothing: cai asks for what it reads",
    "logprobs_mode": "nothing: cai reads log-probabilities as they are",
    "generation_config": "temperature, top_p and max_tokens of each stage",
    "override_generation_config": "temperature, top_p and max_tokens of each stage",
    "hf_token": "the variable HF_TOKEN: a run keeps its configuration",
}
#: They name code, or files in which code may be: nothing of that kind comes with a model or a setting.
_CODE = frozenset(
    ("trust_remote_code", "load_format", "worker_cls", "worker_extension_cls", "model_class_overrides")
) | {"logits_processors", "io_processor_plugin", "reasoning_parser_plugin", "scheduler_cls", "code_revision"}


@cache
def known_arguments() -> frozenset[str]:
    """The fields of vLLM's ``EngineArgs``; empty where they cannot be found out."""
    found = importlib.util.find_spec("vllm")
    for folder in (found.submodule_search_locations or []) if found else []:
        try:
            tree = ast.parse((Path(folder) / "engine" / "arg_utils.py").read_text(encoding="utf-8"))
        except (OSError, SyntaxError):
            continue
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"]
        fields = [field.target for one in classes for field in one.body if isinstance(field, ast.AnnAssign)]
        return frozenset(target.id for target in fields if isinstance(target, ast.Name))
    return frozenset()


def require_arguments(config: ModelConfig, *, vllm: bool) -> None:
    """That vLLM has every argument of ``config.vllm``, cai leaves it to the user, and vLLM (``vllm``) runs.

    Raises:
        UsageError: otherwise; says what to do.
    """
    if config.vllm and not vllm:
        raise UsageError(
            f"{config.name}: 'vllm' is for a model that vLLM runs in this process (engine: vllm) and has no "
            "effect on this one; leave it out"
        )
    for name in config.vllm:
        if name in _OURS:
            raise UsageError(f"{config.name}: vllm.{name} is not taken; use {_OURS[name]}")
        if name in _CODE:
            raise UsageError(
                f"{config.name}: vllm.{name} is not taken: cai runs no code that comes with a model or a "
                "setting, and reads no pickled weights"
            )
        if (known := known_arguments()) and (name not in known or name.startswith("_")):
            raise UsageError(
                f"{config.name}: vLLM has no argument '{name}'{did_you_mean(name, known)} "
                "(the fields of its EngineArgs)"
            )


def identity(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``arguments`` that may change an answer."""
    return {name: value for name, value in arguments.items() if name not in PLACING}


def for_a_sampler(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``arguments`` that a policy in training can be drawn with: on one GPU, as it is."""
    return {name: value for name, value in arguments.items() if name in PLACING - PARALLEL}
