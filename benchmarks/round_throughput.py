"""One generate-revise-label round: cai on vLLM against two hand-written loops over the same requests.

    python -m benchmarks.round_throughput [--prompts 256] [--pairs 5] [--dtype float32]
    python -m benchmarks.round_throughput --model DIR --few-shot 2 --dtype bfloat16 --prompts 24 --pairs 2

``cai``           stages, templates, journal and all, on one loaded vLLM engine
``by hand``       the loop that one would write: tokenise a wave of requests, add them to the very same
                  ``LLMEngine``, step until done, next wave (generate, critique, revision, …, label)
``transformers``  the same waves with ``generate`` in static batches of 32, in the order of arrival

Runs alternate in pairs, with the prefix cache emptied before each; the ratio is taken pair by pair, so a
machine whose speed drifts does not matter. Promised: cai ≥ 0.95 × by hand, and ≥ 3 × transformers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cai.config.run_config import GenerateConfig, LabelConfig, ModelConfig, ReviseConfig, RunConfig
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.data.promptsets import load_prompts
from cai.engines.backend import fingerprint, model_path
from cai.engines.journaled import JournaledEngine
from cai.engines.local.vllm import VLLMEngine
from cai.run.journal import Journal
from cai.run.runner import run_items
from cai.stages.generate import generate
from cai.stages.label import Labeler, label
from cai.stages.revise import Critic, revise
from cai.values.types import Comparison, Prompt

ROUNDS = 2
Wave = list[dict[str, Any]]


async def cai_round(
    engine: VLLMEngine, prompts: list[Prompt], journal_path: Path, seed: int, few_shot: int
) -> float:
    """Seconds for the round through cai."""

    async def opened() -> VLLMEngine:
        return engine

    constitution, templates = load_constitution("harmless"), Templates.load()
    revising = ReviseConfig(rounds=ROUNDS, few_shot=few_shot, max_tokens=64)  # type: ignore[call-arg]
    answering = GenerateConfig(max_tokens=64)  # type: ignore[call-arg]
    with closing(Journal(journal_path)) as journal:
        model = JournaledEngine("pocket", engine.fingerprint, opened, journal)
        critic = Critic(model, templates, revising)
        labeler = Labeler(model, templates, LabelConfig(few_shot=few_shot))  # type: ignore[call-arg]
        started = time.perf_counter()
        responses = await run_items(
            "generate", [(p.id, p) for p in prompts], lambda p: generate(p, model, answering, seed)
        )
        transcripts = await run_items(
            "revise",
            [(r.prompt.id, r) for r in responses.done],
            lambda r: revise(r, critic, constitution, seed),
        )
        pairs = [
            Comparison(t.prompt.id, t.prompt, t.initial, t.final)
            for t in transcripts.done
            if t.final != t.initial
        ]
        await run_items("label", [(c.id, c) for c in pairs], lambda c: label(c, labeler, constitution, seed))
        return time.perf_counter() - started


def waves_of(journal_path: Path) -> list[Wave]:
    """The requests of a finished round, in the waves in which a loop without coroutines would ask them."""
    with sqlite3.connect(journal_path) as database:
        rows = [json.loads(r) for (r,) in database.execute("SELECT request FROM answers ORDER BY created")]
    lengths = sorted({len(row["messages"]) for row in rows if "options" not in row})
    waves: dict[tuple[int, int], Wave] = defaultdict(list)
    rounds: dict[str, int] = defaultdict(int)
    for row in rows:
        if "options" in row:
            waves[99, 0].append(row)
            continue
        # Without worked examples: 1 turn, or 3 (prompt, response, critique request), or 5.
        kind = lengths.index(len(row["messages"]))
        if kind == 0:
            waves[0, 0].append(row)
            continue
        prompt = row["messages"][-3 if kind == 1 else -5]["content"]
        rounds[prompt] += kind == 1
        waves[rounds[prompt], kind].append(row)
    return [waves[key] for key in sorted(waves)]


def hand_written(engine: Any, tokenizer: Any, waves: list[Wave], end: list[int]) -> float:
    """Seconds for the same requests on the same LLMEngine, wave by wave."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    started = time.perf_counter()
    number = 0
    for wave in waves:
        for row in wave:
            ids = tokenize(tokenizer, row)
            final = {"detokenize": False, "output_kind": RequestOutputKind.FINAL_ONLY}
            if "options" in row:
                tokens = [tokenizer.encode(o, add_special_tokens=False)[0] for o in row["options"]]
                parameters = SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=tokens, **final)
            else:
                parameters = SamplingParams(
                    temperature=1.0,
                    max_tokens=row["sampling"]["max_tokens"],
                    seed=row["seed"],
                    stop_token_ids=end,
                    **final,
                )
            engine.add_request(f"hand-{number}", {"prompt_token_ids": ids}, parameters)
            number += 1
        outputs = []
        while engine.has_unfinished_requests():
            outputs += engine.step()
        for output in outputs:
            tokenizer.decode(output.outputs[0].token_ids, skip_special_tokens=True)
    return time.perf_counter() - started


@torch.inference_mode()
def plain_transformers(model: Any, tokenizer: Any, waves: list[Wave], batch: int = 32) -> float:
    """Seconds for the same requests with ``generate`` in static batches."""
    started = time.perf_counter()
    for wave in waves:
        for first in range(0, len(wave), batch):
            rows = wave[first : first + batch]
            ids = [tokenize(tokenizer, row) for row in rows]
            width = max(map(len, ids))
            padded = torch.tensor([[tokenizer.pad_token_id] * (width - len(i)) + i for i in ids])
            mask = torch.tensor([[0] * (width - len(i)) + [1] * len(i) for i in ids])
            if "options" in rows[0]:
                model(input_ids=padded, attention_mask=mask).logits[:, -1].log_softmax(-1)
            else:
                limit = max(row["sampling"]["max_tokens"] for row in rows)
                out = model.generate(
                    input_ids=padded, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0,
                    max_new_tokens=limit, pad_token_id=tokenizer.pad_token_id,
                )  # fmt: skip
                tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
    return time.perf_counter() - started


async def inside(engine: VLLMEngine, call: Callable[[], float]) -> float:
    """``call()`` in the engine's own thread: a second one that multiplies would slow both down."""
    worker = engine._worker

    def serve(waiting: list[Any]) -> None:
        waiting.pop().resolve(call())

    worker.serve = serve  # type: ignore[method-assign]
    try:
        return float(await worker.ask(None))  # type: ignore[arg-type]
    finally:
        del worker.serve


def tokenize(tokenizer: Any, row: dict[str, Any]) -> list[int]:
    text = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer(text + row["prefill"], add_special_tokens=False)["input_ids"]
    return ids


async def measure(prompts: list[Prompt], options: argparse.Namespace) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = ModelConfig(name=options.model, engine="vllm", dtype=options.dtype)  # type: ignore[call-arg]
    folder = model_path(config)
    engine = await VLLMEngine.open(config, folder, fingerprint(config))
    inner = engine._worker._engine
    end = sorted(engine._worker.text.end_ids)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, options.dtype), trust_remote_code=False
    ).eval()
    ratios: dict[str, list[float]] = {"by hand": [], "transformers": []}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.pairs + 1):  # the first pair warms up and does not count
            journal = Path(scratch) / f"{number}.sqlite"
            inner.reset_prefix_cache()
            ours = await cai_round(engine, prompts, journal, number, options.few_shot)
            waves = waves_of(journal)
            inner.reset_prefix_cache()
            by_hand = await inside(engine, partial(hand_written, inner, tokenizer, waves, end))
            plain = await inside(engine, partial(plain_transformers, model, tokenizer, waves))
            if number:
                ratios["by hand"].append(by_hand / ours)
                ratios["transformers"].append(plain / ours)
                count = sum(map(len, waves))
                print(
                    f"pair {number}: {count} requests; cai {ours:.2f} s, by hand {by_hand:.2f} s "
                    f"({by_hand / ours:.2f}×), transformers {plain:.2f} s ({plain / ours:.2f}×)",
                    flush=True,
                )
    await engine.close()
    for name, values in ratios.items():
        print(
            f"cai runs at {statistics.median(values):.2f} × {name} ({min(values):.2f} to {max(values):.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of all three")
    parser.add_argument("--model", default="pocket", help="pocket, or the folder of a real one")
    parser.add_argument("--few-shot", type=int, default=0, help="worked examples shown to critic and labeler")
    options = parser.parse_args()
    config = RunConfig(prompts="pocket:train", limit=options.prompts)  # type: ignore[call-arg]
    asyncio.run(measure(load_prompts(config).train, options))


if __name__ == "__main__":
    main()
