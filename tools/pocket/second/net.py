"""The pocket network with targets by position: a place may have several, those of marks among them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tools.pocket import net
from tools.pocket.net import Shape, rotary

CONTEXT = 2048


class Net(net.Net):
    """``tools.pocket.net``'s, whose vocabulary ends with the marks; the shipped model has none of them."""

    def __init__(self, vocab: int):
        super().__init__(Shape(vocab, context=CONTEXT))

    def forward(self, ids: Tensor, at: Tensor, y: Tensor, w: Tensor) -> Tensor:  # type: ignore[override]
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


def export(model: Net, vocab: int) -> dict[str, Tensor]:
    """The weights under the names of ``LlamaForCausalLM``, without the rows of marks behind ``vocab``."""
    state = net.export(model)
    name = "model.embed_tokens.weight"
    return state | {name: state[name][:vocab].contiguous()}
