"""What a forward pass keeps, counted by torch itself, is what the plan says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cai.engines.model_shape import shape_from
from cai.pipeline.memory.activations import Pass, casts, kept

CONFIG = {
    "vocab_size": 61, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True,
}  # fmt: skip
ROWS, TOKENS = 3, 40


def counted(one: Pass) -> tuple[int, Any]:
    """Bytes that three layers keep beyond one, and the model."""
    sizes = {}
    for layers in (1, 4):
        model = made(layers, one)
        known = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        seen: dict[int, tuple[int, torch.Tensor]] = {}

        def pack(tensor: torch.Tensor, known: set[int] = known, seen: Any = seen) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                seen[storage.data_ptr()] = storage.nbytes(), tensor
            return tensor

        ids = torch.ones(one.rows, one.tokens, dtype=torch.long)
        attention = torch.ones_like(ids)
        attention[0, -3:] = 0
        trunk = model.get_base_model() if one.rank else model
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=one.half),
        ):
            out = trunk.model(input_ids=ids, attention_mask=attention, use_cache=False)
        sizes[layers] = sum(size for size, _ in seen.values())
        del out
    return sizes[4] - sizes[1], model


def made(layers: int, one: Pass) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    model: Any = LlamaForCausalLM(LlamaConfig(**{**CONFIG, "num_hidden_layers": layers}))
    model.set_attn_implementation("eager" if one.eager else "sdpa")
    if one.half_weights:
        model = model.to(torch.bfloat16)
    if one.rank:
        model = get_peft_model(
            model, LoraConfig(r=one.rank, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    return model.train()


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize(("half", "eager"), [(False, False), (True, False), (True, True), (False, True)])
def test_the_plan_counts_what_torch_keeps(half: bool, eager: bool, rank: int) -> None:
    one = Pass(ROWS, TOKENS, TOKENS, half, rank=rank, eager=eager)
    measured, model = counted(one)
    weights = {name: tuple(value.shape) for name, value in made(3, Pass(1, 1, 1, False)).state_dict().items()}
    shape = shape_from(CONFIG, weights)
    rest = casts(shape, one) - casts(shape_from({**CONFIG, "num_hidden_layers": 0}, _tables(weights)), one)
    planned = kept(shape, one) + rest
    assert planned == pytest.approx(measured, rel=0.03)
    del model


def _tables(weights: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in weights.items() if ".layers." not in name}


def test_recomputing_keeps_a_layer_s_input_and_one_layer_in_full() -> None:
    weights = {name: tuple(value.shape) for name, value in made(3, Pass(1, 1, 1, False)).state_dict().items()}
    shape = shape_from(CONFIG, weights)
    plain = Pass(ROWS, TOKENS, TOKENS, False)
    saved = Pass(ROWS, TOKENS, TOKENS, False, checkpoints=True)
    stream = ROWS * TOKENS * CONFIG["hidden_size"] * 4
    assert kept(shape, saved) == kept(shape, plain) // 3 + 3 * stream
