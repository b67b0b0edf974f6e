"""How large a model is and how it is built, from config.json and its weights' headers: nothing is loaded.

``shape_of`` reads a folder, ``measure`` a model by its name: on the hub, headers alone are fetched
(huggingface_hub's ``get_safetensors_metadata``), some kilobytes of a model of any size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from cai.config.run_config import ModelConfig
from cai.engines.backend import model_path, on_a_server
from cai.engines.model_files import LENGTHS, model_config
from cai.engines.weight_files import tensors
from cai.values.errors import CaiError

#: From so many weights on a GPU recomputes activations: it is slower, and there memory is short.
LARGE = 1_000_000_000
#: Attention is written out on a CPU in bfloat16 where its T² values take no more bytes than that.
WRITTEN_OUT = 1 << 30
HUB_SECONDS = 10.0  # for the hub's first answer


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder. ``queries`` and ``keys``: their width over all heads; ``inner``: of the layers that widen.

    ``adapted``: inputs plus outputs of every matrix that LoRA on all linear layers takes, so that an adapter
    of rank r has r times as many weights. ``context``: tokens, 0 where config.json names none.
    """

    weights: int
    layers: int
    hidden: int
    inner: int
    heads: int
    queries: int
    keys: int
    vocabulary: int
    tied: bool
    adapted: int
    context: int = 0

    @property
    def output_layer(self) -> int:
        """Weights that the output layer has to itself."""
        return 0 if self.tied else self.vocabulary * self.hidden


def shape_of(folder: Path) -> ModelShape:
    """The shape of the model in ``folder``.

    Raises:
        UsageError: it holds no model, or a file of it cannot be read.
    """
    return shape_from(model_config(folder), tensors(folder))


def shape_from(config: Mapping[str, Any], weights: Mapping[str, tuple[int, ...]]) -> ModelShape:
    """The shape that config.json states, over the ``weights`` that there are, name → dimensions."""
    own = {**config, **(config.get("text_config") or {})}

    def number(*names: str, default: int) -> int:
        return next((int(own[name]) for name in names if isinstance(own.get(name), int)), default)

    hidden = number("hidden_size", "n_embd", "d_model", default=1024)
    heads = number("num_attention_heads", "n_head", "n_heads", default=max(1, hidden // 64))
    width = number("head_dim", default=hidden // heads)
    inner = number("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden)
    if chosen := number("num_experts_per_tok", default=0):
        inner = chosen * number("moe_intermediate_size", default=inner)
    vocabulary = number("vocab_size", default=max((s[0] for s in weights.values() if s), default=0))
    matrices = [s for s in weights.values() if len(s) == 2 and vocabulary not in s and min(s) > 1]
    return ModelShape(
        weights=sum(map(prod, weights.values())),
        layers=number("num_hidden_layers", "n_layer", "n_layers", default=24),
        hidden=hidden,
        inner=inner,
        heads=heads,
        queries=heads * width,
        keys=number("num_key_value_heads", default=heads) * width,
        vocabulary=vocabulary,
        # As transformers takes it: without an output layer in the files there is but the embedding.
        tied=sum(vocabulary in s for s in weights.values()) < 2,
        adapted=sum(map(sum, matrices)),
        context=number(*LENGTHS, default=0),
    )


def measure(name: str, revision: str | None = None) -> ModelShape | None:
    """The shape of the model that a configuration names; None where it cannot be had, or is on a server."""
    model = ModelConfig(name=name, revision=revision)
    try:
        if on_a_server(model):
            return None
        if name == "pocket" or Path(name).expanduser().is_dir():
            return shape_of(model_path(model))
        return _on_the_hub(name, revision)
    except Exception:  # no such model, no network, a broken file: whoever needs the model says which
        return None


@cache
def _on_the_hub(name: str, revision: str | None) -> ModelShape | None:
    """From the cache where the model is in it, else from the headers that the hub gives.

    Asked once in a process, and first in one request that nobody repeats: without a network a command would
    wait half a minute for each file that it looks for.
    """
    from huggingface_hub import (
        get_safetensors_metadata,
        hf_hub_download,
        model_info,
        snapshot_download,
    )
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return shape_of(Path(snapshot_download(name, revision=revision, local_files_only=True)))
    except (LocalEntryNotFoundError, CaiError):
        pass
    try:
        model_info(name, revision=revision, timeout=HUB_SECONDS)
        config = json.loads(Path(hf_hub_download(name, "config.json", revision=revision)).read_text("utf-8"))
        found = get_safetensors_metadata(name, revision=revision)
    except Exception:  # kept as the answer, or every reading of the configuration would wait again
        return None
    headers = [file.tensors for file in found.files_metadata.values()]
    return shape_from(config, {key: tuple(t.shape) for header in headers for key, t in header.items()})
