"""The Llama architecture written out for fast training on a CPU; exported to transformers' names.

Attention is matmul, softmax, matmul: at this size it beats the fused CPU kernel. Matrices live in
float32 and are multiplied in bfloat16 (a CPU with AMX does that about ten times faster). Leaves
out: caches, dropout, anything needed for generation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """D width, L layers, H heads, F feed-forward width, V vocabulary."""

    vocab: int
    width: int = 256
    layers: int = 6
    heads: int = 4
    hidden: int = 640
    theta: float = 10_000.0
    context: int = 2048

    @property
    def head(self) -> int:
        return self.width // self.heads


def rotary(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin of the rotary embedding, each [T, head], in transformers' half-split layout."""
    inverse = shape.theta ** (-torch.arange(0, shape.head, 2).float() / shape.head)
    angles = torch.outer(torch.arange(length).float(), inverse)
    return torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [B, H, T, head] by position."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class Block(nn.Module):
    """One layer: attention and a gated feed-forward, each behind an RMS norm."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.norm_in = nn.Parameter(torch.ones(width))
        self.norm_mid = nn.Parameter(torch.ones(width))
        self.qkv = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.out = nn.Parameter(torch.zeros(width, width))
        self.gate_up = nn.Parameter(torch.randn(2 * shape.hidden, width) * width**-0.5)
        self.down = nn.Parameter(torch.zeros(width, shape.hidden))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]; mask [T, T] is 0 or -inf."""
        s = self.shape
        b, t, d = x.shape
        h = F.rms_norm(x, (d,), self.norm_in, 1e-5).bfloat16()
        q, k, v = F.linear(h, self.qkv.bfloat16()).view(b, t, 3, s.heads, s.head).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        scores = (q @ k.transpose(-1, -2)).float() * s.head**-0.5 + mask
        mixed = (scores.softmax(-1).bfloat16() @ v).transpose(1, 2).reshape(b, t, d)
        x = x + F.linear(mixed, self.out.bfloat16()).float()
        h = F.rms_norm(x, (d,), self.norm_mid, 1e-5).bfloat16()
        gate, up = F.linear(h, self.gate_up.bfloat16()).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down.bfloat16()).float()


class Net(nn.Module):
    """Embedding, blocks, norm, and the embedding again as output matrix."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.embed = nn.Parameter(torch.randn(shape.vocab, shape.width) * 0.02)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))

    def forward(self, ids: Tensor, at: Tensor, y: Tensor, w: Tensor) -> Tensor:
        """Mean of w·nll(y) over the K targets: positions ``at`` of the flattened ids [B, T], tokens y."""
        t = ids.shape[1]
        cos, sin = (part.bfloat16() for part in rotary(self.shape, t))
        mask = torch.full((t, t), float("-inf")).triu(1)
        x = F.embedding(ids, self.embed)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        h = F.rms_norm(x.flatten(0, 1)[at], (self.shape.width,), self.norm, 1e-5).bfloat16()
        logits = F.linear(h, self.embed.bfloat16()).float()
        return (w * F.cross_entropy(logits, y, reduction="none")).sum() / w.sum()


def export(net: Net, vocab: int) -> dict[str, Tensor]:
    """The weights under the names of ``LlamaForCausalLM``, without the rows of marks behind ``vocab``."""
    state = {"model.embed_tokens.weight": net.embed.data[:vocab], "model.norm.weight": net.norm.data}
    for i, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        at = f"model.layers.{i}."
        for name, part in zip("qkv", block.qkv.data.chunk(3), strict=True):
            state[f"{at}self_attn.{name}_proj.weight"] = part
        gate, up = block.gate_up.data.chunk(2)
        state |= {
            f"{at}self_attn.o_proj.weight": block.out.data,
            f"{at}mlp.gate_proj.weight": gate,
            f"{at}mlp.up_proj.weight": up,
            f"{at}mlp.down_proj.weight": block.down.data,
            f"{at}input_layernorm.weight": block.norm_in.data,
            f"{at}post_attention_layernorm.weight": block.norm_mid.data,
        }
    return {name: tensor.clone().contiguous() for name, tensor in state.items()}
