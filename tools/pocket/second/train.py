"""Train the pocket model from scratch on the grammar's documents.

    python -m tools.pocket.second.train --out FOLDER --steps 6000

Raw PyTorch: this model is made once, by this script. An interrupted training goes on from its last state
(every ``SAVE`` updates), with other documents than an uninterrupted one would have seen. Leaves out several
devices.
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

from tools.pocket.second.batches import stream
from tools.pocket.second.documents import MARKS, draw_doc
from tools.pocket.second.encode import CHAT_TEMPLATE, CONTROL, Encoder, train_tokenizer
from tools.pocket.second.net import Net, export
from tools.pocket.train import optimizers

VOCABULARY = 2048
WARMUP, DECAY_FROM, FLOOR = 100, 0.5, 0.02
SAVE = 250


def schedule(step: int, steps: int) -> float:
    """Warm up, hold, then fall in a straight line."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    left = (steps - step) / (steps * (1 - DECAY_FROM))
    return max(FLOOR, min(1.0, left))


def save(net: Net, tokenizer: Tokenizer, out: Path) -> None:
    """A folder that ``LlamaForCausalLM.from_pretrained`` and vLLM load, in bfloat16."""
    out.mkdir(parents=True, exist_ok=True)
    s, vocab = net.shape, tokenizer.get_vocab_size()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16",
        "vocab_size": vocab, "hidden_size": s.width, "intermediate_size": s.hidden,
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
    state = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in export(net, vocab).items()}
    save_file(state, str(out / "model.safetensors"), metadata={"format": "pt"})


def keep(net: Net, optims: list[torch.optim.Optimizer], step: int, path: Path) -> None:
    """Weights and momenta, to go on from."""
    state = {f"net.{name}": p.data for name, p in net.named_parameters()}
    for i, optim in enumerate(optims):
        for j, p in enumerate(p for group in optim.param_groups for p in group["params"]):
            state |= {
                f"optim.{i}.{j}.{name}": torch.as_tensor(value) for name, value in optim.state[p].items()
            }
    new = path.with_suffix(".new")
    save_file({k: v.contiguous() for k, v in state.items()}, str(new), metadata={"step": str(step)})
    new.replace(path)


def go_on(net: Net, optims: list[torch.optim.Optimizer], path: Path) -> int:
    """Put back what ``keep`` saved; the number of updates done."""
    from safetensors import safe_open

    state = load_file(str(path))
    for name, p in net.named_parameters():
        p.data.copy_(state[f"net.{name}"])
    for i, optim in enumerate(optims):
        for j, p in enumerate(p for group in optim.param_groups for p in group["params"]):
            start = f"optim.{i}.{j}."
            optim.state[p].update({k[len(start) :]: v for k, v in state.items() if k.startswith(start)})
    with safe_open(str(path), "pt") as file:
        return int(file.metadata()["step"])


def begin(out: Path, seed: int) -> tuple[Net, Tokenizer]:
    torch.manual_seed(seed)
    kept = out / "tokenizer.json"
    if kept.is_file():
        tokenizer = Tokenizer.from_file(str(kept))
    else:
        rng = random.Random(seed)
        tokenizer = train_tokenizer([draw_doc(rng) for _ in range(20_000)], VOCABULARY, seed)
        out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(kept))
    return Net(tokenizer.get_vocab_size() + len(MARKS)), tokenizer


def train(out: Path, steps: int, seed: int, lr: float) -> None:
    """A schedule from warm-up to decay, over documents never seen before."""
    net, tokenizer = begin(out, seed)
    optims = optimizers(net, lr)
    state = out / "state.safetensors"
    done = go_on(net, optims, state) if state.is_file() else 0
    base = [[group["lr"] if done == 0 else lr / (4 if i else 1) for group in o.param_groups]
            for i, o in enumerate(optims)]  # fmt: skip
    model = torch.compile(net, dynamic=False)
    begun, tokens, mean = time.time(), 0, 0.0
    batches = stream(Encoder(tokenizer), seed + 1 + done)
    for step, b in zip(range(done, steps), batches, strict=False):
        loss = model(b.ids, b.at, b.y, b.w)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optim, rates in zip(optims, base, strict=True):
            for group, rate in zip(optim.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step, steps)
            optim.step()
            optim.zero_grad(set_to_none=False)
        tokens += b.ids.numel()
        mean = loss.item() if step == done else 0.98 * mean + 0.02 * loss.item()
        if step % 25 == 0:
            spent = time.time() - begun
            print(f"step {step} loss {mean:.4f} tokens {tokens / 1e6:.1f}M seconds {spent:.0f}", flush=True)
        if step + 1 < steps and (step + 1) % SAVE == 0:
            save(net, tokenizer, out)
            keep(net, optims, step + 1, state)
    save(net, tokenizer, out)
    keep(net, optims, steps, state)
    print(f"done: {tokens / 1e6:.1f}M tokens in {(time.time() - begun) / 60:.1f} minutes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.012)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.out, args.steps, args.seed, args.lr)


if __name__ == "__main__":
    main()
