"""What a forward pass keeps for its backward pass, in bytes. d hidden, f inner, q queries' width, T tokens.

The numbers per token and layer are of transformers' Llama and are exact for it: counted with
``torch.autograd.graph.saved_tensors_hooks`` (``tests/pipeline/test_memory_activations.py`` counts again).
Qwen, Mistral, Gemma and others that are built alike keep the same but for a norm or two. In float32 a norm
keeps its input, what is normed and its output; attention its queries, keys and values (repeated to as many
heads as there are queries), and output; the wide layers four values. In bfloat16 norms stay in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from cai.engines.model_shape import ModelShape

# Bytes per value of (d, f, q) of a token in a layer, by (half precision, LoRA).
_KEPT = {
    (False, False): (24, 16, 16),
    (False, True): (16, 16, 16),
    (True, False): (26, 8, 8),
    (True, True): (18, 8, 10),
}
_EAGER = {False: 4, True: 6}  # bytes per score of attention, where it is written out
ADAPTED = 7  # matrices of a layer that take an adapter
_CHUNK = 64 << 20  # bytes of logits that training/updates/losses.py turns into float32 at a time


@dataclass(frozen=True, slots=True)
class Pass:
    """A micro-batch: ``rows`` sequences of ``tokens``, of which ``scored`` each go through the output layer.

    ``half``: in bfloat16, over float32 weights unless ``half_weights``. ``rank``: of LoRA, 0 without.
    ``eager``: attention is written out (``training/device.py``). ``checkpoints``: activations are recomputed.
    """

    rows: int
    tokens: int
    scored: int
    half: bool
    half_weights: bool = False
    rank: int = 0
    eager: bool = False
    checkpoints: bool = False

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return 2 if self.half else 4


def kept(shape: ModelShape, one: Pass) -> int:
    """Bytes that all layers keep, without the output layer."""
    layer = _layer(shape, one)
    if not one.checkpoints:
        return layer * shape.layers
    stream = 2 if one.half_weights else 4
    return one.rows * one.tokens * shape.hidden * stream * shape.layers + layer


def _layer(shape: ModelShape, one: Pass) -> int:
    hidden, inner, queries = _KEPT[one.half, one.rank > 0]
    if one.eager and one.half:
        queries = 8  # an adapter's input is then in bfloat16 already
    token = hidden * shape.hidden + inner * shape.inner + queries * shape.queries
    token += ADAPTED * one.rank * one.size
    scores = _EAGER[one.half] * shape.heads if one.eager else one.size
    return one.rows * (one.tokens * token + one.tokens**2 * scores)


def casts(shape: ModelShape, one: Pass) -> int:
    """Bytes of the bfloat16 copies that autocast makes of float32 weights and keeps for the backward pass."""
    if not one.half:
        return 0
    adapters = 2 * one.rank * shape.adapted
    return adapters + (0 if one.half_weights else 2 * (shape.weights - _lookup(shape)))


def _lookup(shape: ModelShape) -> int:
    """Weights of an embedding that is nothing but looked up in."""
    return 0 if shape.tied else shape.vocabulary * shape.hidden


def first_gradient(shape: ModelShape, one: Pass) -> int:
    """Bytes of the output layer's gradient on its way: the first, while all activations are still there."""
    if one.rank:
        return 0
    return shape.vocabulary * shape.hidden * (4 + (2 if one.half else 0))


def logits(shape: ModelShape, one: Pass, copies: int) -> int:
    """Bytes of ``copies`` of the logits of the scored positions, and of the chunk that a loss works on."""
    values = one.rows * one.scored * shape.vocabulary
    return values * one.size * copies + 3 * min(_CHUNK, values * 4)
