"""Train the pocket model from scratch on the grammar's documents.

    python -m tools.pocket.train --out FOLDER --steps 3000

Raw PyTorch: this model is made once, by this script. Leaves out resuming and several devices.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tools.pocket.batches import stream
from tools.pocket.documents import draw_doc
from tools.pocket.encode import CHAT_TEMPLATE, CONTROL, Encoder, train_tokenizer
from tools.pocket.muon import Muon
from tools.pocket.net import Net, Shape, export, restore

VOCABULARY = 1280
WARMUP, DECAY_FROM = 60, 0.45


def schedule(step: int, steps: int) -> float:
    """Warm up, hold, then fall in a straight line to 2 %."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    left = (steps - step) / (steps * (1 - DECAY_FROM))
    return max(0.02, min(1.0, left))


def optimizers(net: Net, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for embedding and norms."""
    stacks: dict[int, list[torch.nn.Parameter]] = {1: [], 2: [], 3: []}
    others: list[torch.nn.Parameter] = []
    for name, p in net.named_parameters():
        kind = name.rsplit(".", 1)[-1]
        stack = {"qkv": 3, "gate_up": 2, "out": 1, "down": 1}.get(kind)
        (others if stack is None else stacks[stack]).append(p)
    groups: list[dict[str, object]] = [{"params": ps, "parts": n} for n, ps in stacks.items()]
    adam = torch.optim.AdamW(others, lr=lr / 4, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(groups, lr=lr), adam]


def save(net: Net, tokenizer: Tokenizer, out: Path, dtype: torch.dtype) -> None:
    """A folder that ``LlamaForCausalLM.from_pretrained`` and vLLM load."""
    out.mkdir(parents=True, exist_ok=True)
    s = net.shape
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": str(dtype).split(".")[-1],
        "vocab_size": s.vocab, "hidden_size": s.width, "intermediate_size": s.hidden,
        "num_hidden_layers": s.layers, "num_attention_heads": s.heads, "num_key_value_heads": s.heads,
        "head_dim": s.head, "hidden_act": "silu", "max_position_embeddings": s.context, "rms_norm_eps": 1e-5,
        "rope_theta": s.theta, "rope_parameters": {"rope_type": "default", "rope_theta": s.theta},
        "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    (out / "config.json").write_text(json.dumps(config, indent=1))
    (out / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "do_sample": True})
    )
    tokenizer.save(str(out / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": CONTROL[1], "eos_token": CONTROL[2],
        "pad_token": CONTROL[0], "model_max_length": s.context, "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }  # fmt: skip
    (out / "tokenizer_config.json").write_text(json.dumps(about, indent=1))
    state = {name: tensor.to(dtype) for name, tensor in export(net).items()}
    save_file(state, str(out / "model.safetensors"), metadata={"format": "pt"})


def begin(init: Path | None, seed: int) -> tuple[Net, Tokenizer]:
    """A new net with a new tokenizer, or both from the folder of an earlier phase."""
    torch.manual_seed(seed)
    if init is not None:
        tokenizer = Tokenizer.from_file(str(init / "tokenizer.json"))
        net = Net(Shape(tokenizer.get_vocab_size()))
        restore(net, load_file(str(init / "model.safetensors")))
        return net, tokenizer
    rng = random.Random(seed)
    tokenizer = train_tokenizer([draw_doc(rng) for _ in range(20_000)], VOCABULARY, seed)
    return Net(Shape(tokenizer.get_vocab_size())), tokenizer


def train(out: Path, steps: int, seed: int, lr: float, init: Path | None) -> None:
    """One phase: a schedule from warm-up to decay, over documents never seen before."""
    net, tokenizer = begin(init, seed)
    optims = optimizers(net, lr)
    base = [[group["lr"] for group in optim.param_groups] for optim in optims]
    model = torch.compile(net, dynamic=False)
    begun, tokens, mean = time.time(), 0, 0.0
    for step, b in zip(range(steps), stream(Encoder(tokenizer), seed + 1), strict=False):
        loss = model(b.ids, b.at, b.y, b.w, b.y2, b.w2)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optim, rates in zip(optims, base, strict=True):
            for group, rate in zip(optim.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step, steps)
            optim.step()
            optim.zero_grad(set_to_none=False)
        tokens += b.ids.numel()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % 25 == 0:
            print(
                f"step {step} loss {mean:.4f} tokens {tokens / 1e6:.1f}M seconds {time.time() - begun:.0f}",
                flush=True,
            )
        if step and step % 400 == 0:
            save(net, tokenizer, out, torch.float32)
    save(net, tokenizer, out, torch.bfloat16)
    print(f"done: {tokens / 1e6:.1f}M tokens in {(time.time() - begun) / 60:.1f} minutes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.012)
    parser.add_argument("--init", type=Path, help="folder of an earlier phase to go on from")
    args = parser.parse_args()
    torch.set_num_threads(2)
    train(args.out, args.steps, args.seed, args.lr, args.init)


if __name__ == "__main__":
    main()
