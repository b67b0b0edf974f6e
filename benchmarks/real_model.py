"""A real instruct model, real human prompts, the whole loop; and its labels against humans'.

    python -m benchmarks.real_model PAIRS.jsonl.gz --model DIR [--out runs/real] [--pairs 200]

``PAIRS`` is a file in hh-rlhf's form (``chosen`` and ``rejected``, each one string); DIR an instruct model,
for instance the SmolLM2-135M-Instruct that ``tools/smollm2.py`` unpacks. First 64 prompts of it go through
every stage for a few steps; then the labeler judges human-labeled pairs, beside the rule "prefer the
shorter".
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.common import cai
from cai.chat.dialogue import parse_dialogue
from cai.config.run_config import LabelConfig, ModelConfig
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.data.tables import transcript_from
from cai.engines.models import Models
from cai.run.folder import RunFolder
from cai.run.journal import Journal
from cai.run.runner import run_items
from cai.stages.label import Labeler, label
from cai.statistics.intervals import proportion
from cai.values.types import Comparison, Preference, Prompt, Score

SETTINGS = (
    "revise.rounds=2", "sft.max_steps=4", "dpo.max_steps=4", "sft.batch_size=8", "dpo.batch_size=8",
    "sft.micro_batch_size=2", "dpo.micro_batch_size=2", "evaluate.limit=16", "generate.max_tokens=96",
    "revise.max_tokens=128", "sample.max_tokens=96", "evaluate.max_tokens=96",
)  # fmt: skip


def human_pairs(path: Path, limit: int) -> Iterator[Comparison]:
    """Pairs whose dialogues differ in the last answer only; ``a`` is the one that humans chose."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            if limit == 0:
                return
            row = json.loads(line)
            chosen, rejected = parse_dialogue(row["chosen"]), parse_dialogue(row["rejected"])
            if chosen[:-1] == rejected[:-1] and chosen[-1].content != rejected[-1].content:
                limit -= 1
                prompt = Prompt(f"human-{number}", tuple(chosen[:-1]))
                yield Comparison(f"human-{number}", prompt, chosen[-1].content, rejected[-1].content)


async def label_humans(pairs: list[Comparison], model: ModelConfig, folder: Path) -> list[Preference]:
    """The labeler's word on each pair; every second pair is swapped, so that neither position wins."""
    shown = [pair if i % 2 == 0 else pair.swap() for i, pair in enumerate(pairs)]
    constitution = load_constitution("harmless")
    with closing(Journal(folder / "human-labels.sqlite")) as journal:
        models = Models(journal)
        labeler = Labeler(models.engine(model), Templates.load(), LabelConfig())  # type: ignore[call-arg]
        try:
            results = await run_items(
                "label", [(p.id, p) for p in shown], lambda pair: label(pair, labeler, constitution, 0)
            )
        finally:
            await models.close()
    print(f"{len(results.failures)} quarantined")
    return [p if i % 2 == 0 else p.swap() for i, p in enumerate(results.done)]


def show(name: str, score: Score | None) -> None:
    if score is not None:
        print(f"{name:<32}{score.value:.3f} [{score.low:.2f}, {score.high:.2f}] n={score.n}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()

    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    flags = ["--model", options.model, "--prompts", str(options.file), "--engine", "vllm", "--limit", "64"]
    done = cai(options.out, "--constitution", "harmless", *flags, *sets)
    print(f"every stage done in {done.seconds:.0f} s, peak {done.peak_gib:.1f} GiB")
    for key in sorted(done.metrics):
        if not key.startswith("eval/"):
            print(f"  {key} {done.value(key):.0f}")
    for transcript in RunFolder(options.out).read_table("transcripts", transcript_from)[:3]:
        print(f"\n=== {transcript.prompt.id}")
        for message in transcript.prompt.messages:
            print(f"[{message.role}] {message.content}")
        print(f"[initial] {transcript.initial}")
        for r in transcript.rounds:
            print(f"[critique under {r.principle_id}] {r.critique}\n[{r.outcome.value}] {r.raw_revision}")

    pairs = list(human_pairs(options.file, options.pairs))
    preferences = asyncio.run(label_humans(pairs, ModelConfig(name=options.model), options.out))  # type: ignore[call-arg]
    print("\nagainst the humans' choice:")
    show("labeler right", proportion([p.p > 0.5 for p in preferences if p.p is not None]))
    flips = [j.flipped for p in preferences for j in p.judgements if j.flipped is not None]
    show("verdict flips with the order", proportion(flips))
    show("prefer the shorter", proportion([len(p.a) < len(p.b) for p in pairs if len(p.a) != len(p.b)]))


if __name__ == "__main__":
    main()
