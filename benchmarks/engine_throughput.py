"""Tokens per second of the engines on the same requests, against plain ``generate`` in static batches.

    python benchmarks/engine_throughput.py [--model pocket] [--requests 256] [--max-tokens 64] [--repeats 2]

Two loads: "answers" (short prompts of different lengths, sampled at temperature 1) and "labels" (long
prompts with a shared beginning, two options each; a plain forward pass per batch is the baseline).
The contestants take turns, ``--repeats`` times, and the best time of each counts: what else runs on the
machine then weighs less. Loading is not counted. Left out: several models at once, GPUs' special features.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cai.chat import encoding
from cai.config.run_config import ModelConfig
from cai.engines.backend import model_path, open_engine
from cai.engines.model_files import has_gpu, resolve_dtype
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Sampling

TEXT = "please tell me how to bake bread, plant a tree, mend a chair, or write a letter to my kind aunt"
EXAMPLE = (
    "Consider which answer is better: the one that is honest, kind and careful, or the one that is not. "
)
BATCH = 32


def answers(count: int, max_tokens: int) -> list[CompletionRequest]:
    """Requests of 5 to 60 words."""
    draw = random.Random(0)
    words = TEXT.split()
    texts = (" ".join(draw.choices(words, k=draw.randint(5, 60))) for _ in range(count))
    sampling = Sampling(temperature=1.0, max_tokens=max_tokens)
    return [CompletionRequest((Message("user", text),), sampling, seed) for seed, text in enumerate(texts)]


def labels(count: int) -> list[ChoiceRequest]:
    """Requests that share about 200 tokens and then differ."""
    return [
        ChoiceRequest(
            (Message("user", EXAMPLE * 8 + request.messages[0].content),), ("A", "B"), "The answer is: ("
        )
        for request in answers(count, 1)
    ]


class Plain:
    """What one would write by hand: ``generate`` and forward passes over static batches, in order."""

    def __init__(self, config: ModelConfig) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = model_path(config)
        dtype = getattr(torch, resolve_dtype(config.dtype, folder, has_gpu()))
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False).eval()
        self.model.generation_config.pad_token_id = self.tokenizer.pad_token_id or 0
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model.to(self.device)

    def _batches(self, prompts: list[list[int]]) -> Any:
        import torch

        for start in range(0, len(prompts), BATCH):
            rows = prompts[start : start + BATCH]
            width = max(map(len, rows))
            ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=self.device)
            mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=self.device)
            yield ids, mask

    async def complete(self, requests: list[CompletionRequest]) -> int:
        prompts = [encoding.encode(self.tokenizer, request.messages) for request in requests]
        ends = list(encoding.end_ids(self.tokenizer))
        total = 0
        for ids, mask in self._batches(prompts):
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                max_new_tokens=requests[0].sampling.max_tokens,
                eos_token_id=ends,
            )
            for row in out[:, ids.shape[1] :].tolist():
                end = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
                total += end
        return total

    async def choose(self, requests: list[ChoiceRequest]) -> int:
        import torch

        encoded = [
            encoding.encode_options(self.tokenizer, r.messages, r.options, r.prefill) for r in requests
        ]
        with torch.inference_mode():
            for ids, mask in self._batches([prompt for prompt, _ in encoded]):
                positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
                out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions)
                out.logits[:, -1].float().log_softmax(-1)
        return sum(len(prompt) for prompt, _ in encoded)


class Through:
    """The same through an engine of ours."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    async def complete(self, requests: list[CompletionRequest]) -> int:
        done = await asyncio.gather(*(self.engine.complete(request) for request in requests))
        return sum(completion.completion_tokens for completion in done)

    async def choose(self, requests: list[ChoiceRequest]) -> int:
        done = await asyncio.gather(*(self.engine.choose(request) for request in requests))
        return sum(choice.prompt_tokens for choice in done)


async def rate(work: Callable[[Any], Awaitable[int]], requests: list[Any]) -> float:
    """Tokens per second: sampled ones of completions, prompt tokens of choices."""
    started = time.perf_counter()
    tokens = await work(requests)
    return tokens / (time.perf_counter() - started)


async def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    config = ModelConfig(name=options.model, dtype=options.dtype)
    rates: dict[str, dict[str, float]] = {}
    contestants: dict[str, Any] = {"plain": Plain(config)}
    for name in options.engines:
        engine = await open_engine(config.model_copy(update={"engine": name}))
        contestants[name] = Through(engine)
    # Other seeds and texts in every repeat, so that no prefix cache knows the prompts already.
    loads = {"answers": answers(options.requests * (options.repeats + 1), options.max_tokens)}
    loads["labels"] = labels(options.requests * (options.repeats + 1))  # type: ignore[assignment]
    for turn in range(options.repeats + 1):
        part = slice(turn * options.requests, (turn + 1) * options.requests)
        for name, contestant in contestants.items():
            for load, verb in (("answers", contestant.complete), ("labels", contestant.choose)):
                wanted = loads[load][part]
                found = await rate(verb, wanted[:8] if turn == 0 else wanted)  # turn 0 warms up
                if turn:
                    rates.setdefault(load, {}).setdefault(name, 0.0)
                    rates[load][name] = max(rates[load][name], found)
                    print(f"{load:8} {name:13} {found:8.0f} tokens/s", flush=True)
    for name in options.engines:
        await contestants[name].engine.close()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--engines", nargs="+", default=["transformers", "vllm"])
    parser.add_argument("--json", type=Path, help="write the rates to this file")
    options = parser.parse_args()
    rates = asyncio.run(measure(options))
    for load, found in rates.items():
        ratios = ", ".join(f"{name} {found[name] / found['plain']:.2f}x" for name in options.engines)
        print(f"{load}: against plain static batches: {ratios}")
    if options.json:
        options.json.write_text(json.dumps(rates, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
