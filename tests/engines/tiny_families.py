"""Tiny random checkpoints of every family of language models that a chat model of today belongs to.

Each is built from transformers' own configuration class: three or four layers, hidden width 32, the tokenizer
of ``tiny_models``, and windows, chunks and blocks far smaller than the tests' prompts: what counts places in
memory instead of positions in the text shows. ``NOT_BUILT`` says what is left out, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tiny_models import byte_level_tokenizer

WINDOW = 16
COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_group": 1,
          "topk_group": 1, "first_k_dense_replace": 1}  # fmt: skip
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
          "v_head_dim": 8, "num_key_value_heads": 4}  # fmt: skip
WINDOWED = {"sliding_window": WINDOW}
NARROW = {"head_dim": 8}
MIXED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], **WINDOWED}
TWICE_MIXED = {"layer_types": ["sliding_attention", "full_attention"] * 2, "num_hidden_layers": 4, **WINDOWED}
BY_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": None}
INDEXED = {"index_n_heads": 16, "index_head_dim": 16, "index_topk": 24}
DELTA = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
         "linear_num_value_heads": 4, **NARROW,
         "layer_types": ["linear_attention", "full_attention", "linear_attention"]}  # fmt: skip
STATE_SPACE = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8,
               "mamba_expand": 2}  # fmt: skip
NO_HEADS = {"num_attention_heads": None, "num_key_value_heads": None, "intermediate_size": None,
            "max_position_embeddings": None}  # fmt: skip
SMALL_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "image_size": 28, "patch_size": 14}  # fmt: skip

#: name: (transformers' model type, settings beside or instead of COMMON; None takes one away)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    # attention over all that came before
    "apertus": ("apertus", {}),
    "arcee": ("arcee", {}),
    "cohere": ("cohere", {"logit_scale": 1.0}),
    "ernie4_5": ("ernie4_5", NARROW),
    "gemma": ("gemma", NARROW),
    "glm": ("glm", NARROW),
    "glm4": ("glm4", NARROW),
    "gpt2": ("gpt2", {}),
    "gpt_bigcode": ("gpt_bigcode", {}),
    "gpt_neox": ("gpt_neox", {}),
    "gptj": ("gptj", {"rotary_dim": 4}),
    "granite": ("granite", {}),
    "helium": ("helium", NARROW),
    "hunyuan_dense": ("hunyuan_v1_dense", NARROW),
    "llama": ("llama", {}),
    "ministral3": ("ministral3", NARROW),
    "mistral": ("mistral", {}),
    "nanochat": ("nanochat", {}),
    "nemotron": ("nemotron", {}),
    "olmo": ("olmo", {}),
    "olmo2": ("olmo2", {}),
    "opt": ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "persimmon": ("persimmon", {}),
    "phi": ("phi", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", NARROW),
    "seed_oss": ("seed_oss", NARROW),
    "smollm3": ("smollm3", {}),
    "stablelm": ("stablelm", {}),
    "falcon": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    # ALiBi: a penalty that grows with the distance
    "bloom": ("bloom", {}),
    "falcon (ALiBi)": ("falcon", {"alibi": True}),
    "mpt": ("mpt", {}),
    # windows and chunks
    "cohere2": ("cohere2", MIXED | {"logit_scale": 1.0}),
    "exaone4": ("exaone4", MIXED | NARROW),
    "gemma2": ("gemma2", WINDOWED | NARROW),
    "gemma3": ("gemma3", {"text_config": COMMON | MIXED | NARROW, "vision_config": SMALL_VISION,
                          "mm_tokens_per_image": 4}),
    "gemma3_text": ("gemma3_text", MIXED | NARROW),
    "gemma3n_text": ("gemma3n_text", BY_LAYER | MIXED | NARROW | {
        "num_kv_shared_layers": 1, "laurel_rank": 4,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"]}),
    "gemma4": ("gemma4", {"text_config": COMMON | BY_LAYER | NARROW | TWICE_MIXED}),
    "gemma4_text": ("gemma4_text", BY_LAYER | NARROW | TWICE_MIXED),
    "gemma4_unified_text": ("gemma4_unified_text", NARROW | TWICE_MIXED),
    "gpt_neo": ("gpt_neo", {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "num_heads": 4,
                            "window_size": WINDOW, "num_hidden_layers": None, "num_attention_heads": None}),
    "ministral": ("ministral", MIXED | NARROW),
    "mistral (window)": ("mistral", WINDOWED),
    "modernbert-decoder": ("modernbert-decoder", {"local_attention": WINDOW}),
    "olmo3": ("olmo3", MIXED),
    "phi3": ("phi3", WINDOWED),
    "qwen2 (window)": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1, **WINDOWED}),
    "starcoder2": ("starcoder2", WINDOWED),
    "vaultgemma": ("vaultgemma", WINDOWED | NARROW),
    # mixture of experts
    "deepseek_v2": ("deepseek_v2", LATENT | ROUTED),
    "deepseek_v3": ("deepseek_v3", LATENT | ROUTED | {"topk_method": "noaux_tc"}),
    "dots1": ("dots1", ROUTED | WINDOWED | {"n_shared_experts": 1}),
    "ernie4_5_moe": ("ernie4_5_moe", {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32}),
    "glm4_moe": ("glm4_moe", ROUTED | NARROW),
    "gpt_oss": ("gpt_oss", LOCAL_EXPERTS | MIXED | NARROW),
    "granitemoe": ("granitemoe", LOCAL_EXPERTS),
    "granitemoeshared": ("granitemoeshared", LOCAL_EXPERTS),
    "hunyuan_moe": ("hunyuan_v1_moe", {"num_experts": 4, "moe_topk": 2, **NARROW}),
    "llama4_text": ("llama4_text", {"num_local_experts": 4, "attention_chunk_size": WINDOW,
                                    "no_rope_layer_interval": 2, "intermediate_size_mlp": 64, **NARROW}),
    "minimax_m2": ("minimax_m2", LOCAL_EXPERTS | NARROW),
    "mixtral": ("mixtral", LOCAL_EXPERTS | WINDOWED),
    "olmoe": ("olmoe", EXPERTS),
    "phimoe": ("phimoe", LOCAL_EXPERTS | WINDOWED),
    "qwen2_moe": ("qwen2_moe", EXPERTS | {"shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("qwen3_moe", EXPERTS | NARROW),
    "afmoe": ("afmoe", EXPERTS | MIXED | NARROW),
    "aria_text": ("aria_text", {"moe_num_experts": 4, "moe_topk": 2}),
    "axk1": ("axk1", LATENT | ROUTED),
    "biogpt": ("biogpt", {}),
    "bitnet": ("bitnet", {}),
    "codegen": ("codegen", {"rotary_dim": 4}),
    "cohere2_moe": ("cohere2_moe", EXPERTS | MIXED | {"logit_scale": 1.0}),
    "cwm": ("cwm", MIXED | NARROW),
    "deepseek_v32": ("deepseek_v32", LATENT | ROUTED | INDEXED),
    "diffllama": ("diffllama", {}),
    "doge": ("doge", {}),
    "exaone_moe": ("exaone_moe", EXPERTS | MIXED | NARROW),
    "flex_olmo": ("flex_olmo", EXPERTS),
    "glm4_moe_lite": ("glm4_moe_lite", LATENT | ROUTED),
    "glm_moe_dsa": ("glm_moe_dsa", LATENT | ROUTED | INDEXED),
    "gpt_neox_japanese": ("gpt_neox_japanese", {}),
    "granite_swa": ("granite_swa", MIXED),
    "granitemoe_swa": ("granitemoe_swa", LOCAL_EXPERTS | MIXED),
    "hrm_text": ("hrm_text", NARROW),
    "hy_v3": ("hy_v3", EXPERTS | NARROW),
    "hyperclovax": ("hyperclovax", {}),
    "jais2": ("jais2", {}),
    "jetmoe": ("jetmoe", LOCAL_EXPERTS | {"kv_channels": 8}),
    "laguna": ("laguna", EXPERTS | NARROW),
    "mellum": ("mellum", EXPERTS | MIXED | NARROW),
    "mimo_v2_flash": ("mimo_v2_flash", ROUTED | MIXED | NARROW),
    "minicpm3": ("minicpm3", LATENT),
    "openai-gpt": ("openai-gpt", {}),
    "qwen3_5_moe_text": ("qwen3_5_moe_text", DELTA | EXPERTS | {"shared_expert_intermediate_size": 32}),
    "solar_open": ("solar_open", ROUTED | NARROW),
    "xglm": ("xglm", {"attention_heads": 4, "d_model": 32, "ffn_dim": 64, "num_layers": 2}),
    "youtu": ("youtu", LATENT),
    # state spaces, gated recurrences and convolutions, alone or between layers of attention
    "bamba": ("bamba", STATE_SPACE | {"attn_layer_indices": [1]}),
    "falcon_h1": ("falcon_h1", STATE_SPACE | {"mamba_d_ssm": 64}),
    "falcon_mamba": ("falcon_mamba", NO_HEADS | {"state_size": 8}),
    "granitemoehybrid": ("granitemoehybrid", STATE_SPACE | LOCAL_EXPERTS | {
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "shared_intermediate_size": 32}),
    "jamba": ("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 8,
                        "use_mamba_kernels": False}),
    "kimi_linear": ("kimi_linear", LATENT | LOCAL_EXPERTS | {
        "moe_intermediate_size": 32, "linear_head_dim": 8, "linear_num_heads": 4, "q_lora_rank": None,
        "layer_types": DELTA["layer_types"]}),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention", "conv"]}),
    "lfm2_moe": ("lfm2_moe", EXPERTS | {"layer_types": ["conv", "full_attention", "conv"],
                                        "num_dense_layers": 1}),
    "mamba": ("mamba", NO_HEADS | {"state_size": 8}),
    "mamba2": ("mamba2", NO_HEADS | {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 2,
                                     "chunk_size": 8}),
    "minimax": ("minimax", LOCAL_EXPERTS | NARROW | {"block_size": 8, "layer_types": DELTA["layer_types"]}),
    "nemotron_h": ("nemotron_h", {
        "layers_block_type": ["linear_attention", "mlp", "full_attention", "linear_attention"],
        "num_hidden_layers": None, "ssm_state_size": 8, "mamba_num_heads": 4, "mamba_head_dim": 16,
        "n_groups": 2, "chunk_size": 8, **NARROW}),
    "olmo_hybrid": ("olmo_hybrid", DELTA),
    "qwen3_5_text": ("qwen3_5_text", DELTA),
    "qwen3_next": ("qwen3_next", DELTA | EXPERTS | {"shared_expert_intermediate_size": 32}),
    "recurrent_gemma": ("recurrent_gemma", {"attention_window_size": WINDOW, "num_key_value_heads": 1,
                                            "max_position_embeddings": None}),
    "xlstm": ("xlstm", NO_HEADS | {"hidden_size": 128, "num_heads": 2, "chunk_size": 8}),
    "rwkv": ("rwkv", {"attention_hidden_size": 32, "context_length": 512}),
    "zamba": ("zamba", {"layers_block_type": ["linear_attention", *["linear_attention", "hybrid"] * 2],
                        "num_hidden_layers": 5,
                        "mamba_d_state": 8, "use_mamba_kernels": False, "num_key_value_heads": 4,
                        "n_mamba_heads": 2}),
    "zamba2": ("zamba2", {"layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
                          "num_hidden_layers": 4, "mamba_d_state": 8, "n_mamba_heads": 4, "chunk_size": 8,
                          "num_key_value_heads": 4, "adapter_rank": 8}),
    "zaya": ("zaya", {"num_experts": 4, "num_experts_per_tok": 1, "router_hidden_size": 16, **NARROW}),
}  # fmt: skip

NOT_BUILT = {
    "dbrx, longcat_flash, qwen4_exp": "transformers builds nothing so small from their configurations",
    "deepseek_v4, hy_v4, inkling_text, minimax_m3_vl_text": "built, and too slow for a test of every family",
    "gemma3n": "its picture encoder needs the package timm; gemma3n_text is its other half",
    "llama4, qwen3_5, qwen3_5_moe": "read as text alone, they are the families named …_text",
    "cohere_compass, emu3, fuyu, git, got_ocr2, mllama, moshi, musicgen, phi4_multimodal, whisper":
        "their inputs are not text alone",
    "bert, electra, roberta … and bart, pegasus, t5 …": "encoders, and decoders of translation models",
}  # fmt: skip


@cache
def tokenizer() -> Any:
    """The ChatML tokenizer of all families."""
    made = byte_level_tokenizer()
    made.eos_token = "<|im_end|>"
    return made


#: What grows with the width of a family. vLLM's attention on a CPU knows no heads narrower than 32.
_WIDTHS = {
    *("hidden_size", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size"),
    *("intermediate_size_mlp", "shared_intermediate_size", "head_dim", "kv_channels", "qk_rope_head_dim"),
    *("qk_nope_head_dim", "v_head_dim", "kv_lora_rank", "q_lora_rank", "mamba_d_head", "mamba_d_ssm"),
    *("d_model", "ffn_dim", "word_embed_proj_dim", "attention_hidden_size", "hidden_size_per_layer_input"),
    *("index_head_dim", "rotary_dim", "attention_chunk_size"),
}


def widened(settings: dict[str, Any], width: int) -> dict[str, Any]:
    """The same settings with every layer ``width`` times as wide."""
    return {
        key: widened(value, width)
        if key == "text_config"
        else value * width
        if key in _WIDTHS and value is not None
        else value
        for key, value in settings.items()
    }


def config_of(name: str, width: int = 1) -> Any:
    """The configuration of a family; ``width`` times as wide as it is listed."""
    from transformers import AutoConfig

    model_type, own = FAMILIES[name]
    own = widened(own, width)
    for part in (own, own.get("text_config", {})):
        if "vocab_size_per_layer_input" in part:
            part["vocab_size_per_layer_input"] = len(tokenizer())
    ids = {
        "vocab_size": len(tokenizer()),
        "bos_token_id": tokenizer().bos_token_id,
        "eos_token_id": tokenizer().eos_token_id,
        "pad_token_id": tokenizer().pad_token_id,
    }
    for part in ("text_config",):
        if part in own:
            return AutoConfig.for_model(model_type, **{**own, part: own[part] | ids}, **ids)
    settings = widened(COMMON, width) | own | ids
    return AutoConfig.for_model(
        model_type, **{key: value for key, value in settings.items() if value is not None}
    )


@contextmanager
def changed(name: str, **settings: Any) -> Iterator[None]:
    """A family with other settings, for a while."""
    before = FAMILIES[name]
    FAMILIES[name] = (before[0], before[1] | settings)
    try:
        yield
    finally:
        FAMILIES[name] = before


def build(name: str, seed: int = 0, width: int = 1) -> Any:
    """A random model of a family, in float32, in evaluation mode.

    Matrices are drawn larger than is usual, so that the distributions are not flat.
    """
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config_of(name, width)).float().eval().requires_grad_(False)
        sharpen(model, 0.15 / width**0.5)
    return model


def build_classifier(name: str, seed: int = 0) -> Any:
    """A random reward model of a family; None where transformers has none."""
    from transformers import AutoModelForSequenceClassification

    config = config_of(name)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        return None
    config.num_labels = config.get_text_config().num_labels = 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config).float().eval().requires_grad_(False)
        sharpen(model)
    return model


def sharpen(model: Any, deviation: float = 0.15) -> None:
    """Draw the weights of linear layers, embeddings and experts again."""
    for key, weight in model.named_parameters():
        if weight.dim() >= 2 and not any(part in key for part in ("A_log", "conv", "norm", "dt_")):
            torch.nn.init.normal_(weight, std=deviation)


def save(name: str, folder: Path, seed: int = 0, width: int = 1) -> Path:
    """A checkpoint folder of a family."""
    build(name, seed, width).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
