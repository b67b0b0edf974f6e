"""Loading a model into vLLM so that it either answers or has left nothing behind."""

from __future__ import annotations

import gc
import textwrap
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from cai.engines.local.vllm_settings import (
    affinity,
    leave_classes_alone,
    prepare_environment,
    restore_threads,
)
from cai.values.errors import EngineError


def load_vllm(folder: Path, arguments: dict[str, Any], gpu: bool) -> Any:
    """vLLM's ``LLMEngine`` made with ``arguments``, which has answered once.

    What it cannot compute shows at the first token of some architectures (a width that no kernel takes, a
    number format): it is drawn here, before anything is paid for.

    Raises:
        EngineError: it cannot be loaded, or does not answer.
    """
    prepare_environment(gpu)
    import torch

    before = torch.set_num_threads, torch.get_num_threads(), affinity()
    engine = None
    try:
        from vllm import EngineArgs, LLMEngine

        if not gpu:
            leave_classes_alone()
        engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        _try_out(engine)
    except Exception as error:
        traceback.clear_frames(error.__traceback__)  # they hold the model
        if engine is not None:
            with suppress(Exception):
                engine.engine_core.shutdown()
            engine = None
        clean_up()
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 400)
        raise EngineError(f"vLLM cannot load {folder}: {reason}") from error
    finally:
        restore_threads(*before)
    return engine


def _try_out(engine: Any) -> None:
    """Draw a token after another."""
    from vllm import SamplingParams

    parameters = SamplingParams(temperature=0.0, max_tokens=2, ignore_eos=True, detokenize=False)
    engine.add_request("first", {"prompt_token_ids": [0, 0]}, parameters)
    while engine.has_unfinished_requests():
        engine.step()
    engine.reset_prefix_cache()


def clean_up() -> None:
    """Free what an engine that was shut down, or never came to be, has left; nothing may refer to it now."""
    with suppress(ImportError):
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()
    gc.collect()
