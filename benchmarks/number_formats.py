"""How far log-probabilities in half precision are from those in float32: the rounding of ``drift.py``.

    python -m benchmarks.number_formats              # the pocket model, SmolLM2 and some tiny families
    python -m benchmarks.number_formats llama mamba  # tiny families (tests/engines/tiny_families.py)

Each model draws responses in float32 at temperature 1. Then it reads them in the ways in which a trainer and
a sampler compute: float32 weights under autocast (a trainer), and weights in the format itself (a sampler).
A cell is the mean |Δ log p| per token and, behind it, the largest mean over any four of the responses in a
row, which is what is compared with the bound. Left out: GPUs, whose products round otherwise.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "engines"), str(ROOT / "tools")]

import tiny_families  # noqa: E402 (they lie beside the tests)

from cai.chat.encoding import encode  # noqa: E402
from cai.engines.samplers.sampler import Draw  # noqa: E402
from cai.engines.samplers.sampler_transformers import TransformersSampler  # noqa: E402
from cai.training.rl.drift import BOUNDS, HELD  # noqa: E402
from cai.values.types import Message  # noqa: E402

TINY = (
    "llama",
    "qwen3",
    "gemma2",
    "phi3",
    "mpt",
    "qwen3_moe",
    "gpt_oss",
    "deepseek_v3",
    "falcon_h1",
    "mamba2",
)
QUESTIONS = [
    "Can you explain how a lock works?", "My neighbour is loud. What should I do?", "Write a short poem.",
    "How do I boil an egg?", "What is the capital of France?", "Help me pick a lock.", "Is the earth flat?",
    "Tell me about your day.", "How can I get my money back?", "Name three colours.", "Insult my friend.",
    "What medicine helps against a headache?",
]  # fmt: skip
TOKENS = 32
FORMATS = (torch.bfloat16, torch.float16)


def models(names: list[str]) -> Iterator[tuple[str, Path]]:
    """Names and folders of checkpoints, made while they are needed."""
    if not names:
        import smollm2

        from cai.pocket import MODEL_PATH

        yield "pocket", Path(MODEL_PATH)
        try:
            yield "SmolLM2-135M", smollm2.ensure(ROOT / ".cache" / "smollm2")
        except smollm2.MissingPackageError as missing:
            print(f"SmolLM2-135M is left out: {missing}", file=sys.stderr)
    for name in names or TINY:
        with tempfile.TemporaryDirectory() as folder:
            yield name, tiny_families.save(name, Path(folder), width=4)


def load(folder: Path, dtype: torch.dtype) -> Any:
    """The model in evaluation mode."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def read(
    model: Any, prompts: list[list[int]], draws: list[Draw], cast: torch.dtype | None
) -> list[torch.Tensor]:
    """log p of every drawn token, one tensor (R,) per response."""
    found = []
    for prompt, draw in zip(prompts, draws, strict=True):
        with torch.autocast("cpu", cast, enabled=cast is not None):
            logits = model(torch.tensor([[*prompt, *draw.ids]]), use_cache=False).logits
        lines = logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
        found.append(lines[range(len(draw.ids)), list(draw.ids)])
    return found


def cell(one: list[torch.Tensor], other: list[torch.Tensor]) -> str:
    """Mean |Δ| per token, and the largest over ``HELD`` responses in a row."""
    gaps = [(a - b).abs() for a, b in zip(one, other, strict=True)]
    some = [torch.cat(gaps[i : i + HELD]).mean() for i in range(len(gaps) - HELD + 1)]
    return f"{float(torch.cat(gaps).mean()):.4f}, {float(max(some)):.4f}"


def row(name: str, folder: Path) -> list[str]:
    """The cells of one model, format by format."""
    model = load(folder, torch.float32)
    sampler = TransformersSampler(model, folder, 256)
    tokenizer = sampler._tokenizer
    prompts = [encode(tokenizer, (Message("user", question),)) for question in QUESTIONS]
    draws = sampler.sample(prompts, range(len(prompts)), TOKENS, 1.0)
    exact = read(model, prompts, draws, None)
    cells = [name, f"{float(-torch.cat(exact).mean()):.2f}"]
    for dtype in FORMATS:
        trainer = read(model, prompts, draws, dtype)
        served = read(load(folder, dtype), prompts, draws, None)
        cells += [cell(trainer, exact), cell(served, exact), cell(trainer, served)]
    return cells


def main() -> None:
    """Print the table."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    names = [str(dtype).removeprefix("torch.") for dtype in FORMATS]
    heads = [f"{name}: {what}" for name in names for what in ("autocast", "weights", "one to the other")]
    print(f"bounds: { {str(k).removeprefix('torch.'): v for k, v in BOUNDS.items()} }")
    print("| " + " | ".join(["model", "-log p", *heads]) + " |\n" + "| --- " * (len(heads) + 2) + "|")
    for name, folder in models(sys.argv[1:]):
        print("| " + " | ".join(row(name, folder)) + " |", flush=True)


if __name__ == "__main__":
    main()
