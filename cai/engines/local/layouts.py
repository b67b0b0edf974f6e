"""How the rows of one batch may lie together in a model, by its architecture.

An architecture is listed where ``tests/engines/test_families.py`` finds, on a tiny checkpoint with windows
far shorter than the rows, that every row's logits are those of the row alone. What is not listed is run in
groups of one length, or without a cache where transformers keeps none for it: slower, and right for
everything. ``python -m benchmarks.families`` prints the table.
"""

from __future__ import annotations

from enum import Enum
from inspect import signature
from typing import Any

import torch


class Layout(Enum):
    """From the quickest to what is right for everything."""

    SHARED = "shared"  # padding on the left; a beginning that all rows share is run once
    PADDED = "padded"  # padding on the left
    EQUAL = "equal"  # rows of one length
    ANEW = "anew"  # rows of one length, and no cache: each step runs all tokens again

    @property
    def pads(self) -> bool:
        return self in {Layout.SHARED, Layout.PADDED}

    @property
    def caches(self) -> bool:
        return self is not Layout.ANEW


#: Not listed is ``EQUAL``, or ``ANEW`` where transformers keeps no cache.
_LISTED: dict[Layout, str] = {
    # Every layer holds keys and values, of everything or of a window.
    Layout.SHARED: """
        afmoe apertus arcee aria_text axk1 biogpt bitnet bloom codegen cohere cohere2
        cohere2_moe cwm deepseek_v2 deepseek_v3 diffllama doge dots1 ernie4_5 ernie4_5_moe
        exaone4 exaone_moe falcon flex_olmo gemma gemma2 gemma3 gemma3_text gemma3n_text gemma4
        gemma4_text gemma4_unified_text glm glm4 glm4_moe glm4_moe_lite gpt2 gpt_bigcode gpt_neo
        gpt_neox gpt_neox_japanese gpt_oss gptj granite granite_swa granitemoe granitemoe_swa
        granitemoeshared helium hrm_text hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax jais2
        jetmoe laguna llama llama4_text mellum mimo_v2_flash minicpm3 minimax_m2 ministral
        ministral3 mistral mixtral modernbert-decoder mpt nanochat nemotron olmo olmo2 olmo3
        olmoe opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3
        solar_open stablelm starcoder2 vaultgemma xglm youtu
    """,
    # Some layers carry a state from token to token and leave it as it is where padding stands, or choose
    # which tokens are attended to.
    Layout.PADDED: """
        bamba deepseek_v32 falcon_h1 glm_moe_dsa granitemoehybrid jamba kimi_linear lfm2 lfm2_moe mamba2
        nemotron_h olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next zamba zamba2 zaya
    """,
}
LAYOUTS = {name: layout for layout, names in _LISTED.items() for name in names.split()}


def layout_of(model: Any) -> Layout:
    """The quickest layout that is known to be right for a loaded model."""
    config = model.config
    if getattr(config.get_text_config(), "use_bidirectional_attention", None) in (True, "all"):
        return Layout.ANEW  # what comes later changes what came before
    known = LAYOUTS.get(config.model_type)
    return known or (Layout.EQUAL if _keeps_a_cache(model) else Layout.ANEW)


def rotary_border(config: Any) -> int | None:
    """The length in tokens beyond which a model turns all positions by other angles; None without one.

    transformers does so for a whole batch as soon as its longest row is beyond: such rows have to go apart.
    """
    settings = getattr(config.get_text_config(), "rope_parameters", None) or {}
    parts = [part for part in (settings, *settings.values()) if isinstance(part, dict)]
    borders = [p["original_max_position_embeddings"] for p in parts if p.get("rope_type") == "longrope"]
    return min(borders, default=None)


def cache_argument(names: frozenset[str]) -> str | None:
    """What a forward method with arguments of these names calls transformers' ``Cache``."""
    return next((name for name in ("past_key_values", "cache_params") if name in names), None)


def arguments(model: Any) -> frozenset[str]:
    """The names of the arguments of a model's forward method, also inside peft's wrapper."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(signature(plain.forward).parameters)


def _keeps_a_cache(model: Any) -> bool:
    """Whether the model takes a ``DynamicCache`` and gives it back, tried on one token."""
    name = cache_argument(arguments(model))
    if name is None:
        return False
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    with torch.no_grad():
        try:
            out = model(input_ids=ids, use_cache=True, **{name: cache})
        except (AttributeError, RuntimeError, TypeError, ValueError):  # a cache of the model's own
            return False
    return getattr(out, name, None) is cache
