"""Shapes of well-known models, made on the meta device: no weight has a number."""

from __future__ import annotations

from functools import cache
from typing import Any

from cai.engines.model_shape import ModelShape, shape_from

KNOWN: dict[str, dict[str, Any]] = {
    "8B": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    },
    "14B": {
        "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48, "num_attention_heads": 40,
        "vocab_size": 152064,
    },
    "70B": {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
    },
}  # fmt: skip


@cache
def known_shape(name: str) -> ModelShape:
    """Llama 3.1 8B and 70B; 14B is Qwen 2.5's, but for its biases."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = {"vocab_size": 128256, "num_key_value_heads": 8, "max_position_embeddings": 131072} | KNOWN[name]
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**config, tie_word_embeddings=False))
    weights = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    return shape_from({**config, "model_type": "llama"}, weights)
