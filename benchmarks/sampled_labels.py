"""Sampled labels against exact ones: does the interval hold what log-probabilities say, and do weights help?

    python -m benchmarks.sampled_labels [--pairs 300] [--seeds 3] [--verdicts 1 3 8 16] [--out FOLDER]

The pocket labeler judges pairs of its own answers in both orders. The exact label is read from its
log-probabilities; the same labeler, asked to speak, gives its verdicts in each order, of which the first k
are a label at k. Coverage is the share of pairs whose 95 % interval holds the exact label, and so is that of
intervals of early stopping. Then a reward model learns the labels of each k, and of pairs of which every
other one has the fewest verdicts and the rest the most, with and without uncertainty weights; its log-loss
is that on held-out pairs with their exact labels, all seeds' models on the same pairs. At one k all weights
are alike: with and without are one training.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cai.config.run_config import LabelConfig
from cai.config.settings import resolve
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.data.promptsets import load_prompts
from cai.engines.backend import model_path
from cai.engines.models import Models
from cai.rewards.model import RewardModel
from cai.run.journal import Journal
from cai.run.runner import run_items
from cai.stages.generate import generate, pair
from cai.stages.label import Labeler, label
from cai.stages.label_samples import decided, posterior
from cai.statistics import prediction
from cai.statistics.intervals import interval, proportion
from cai.statistics.uncertain import mean
from cai.training.reward_model import train_reward
from cai.values.types import Comparison, Preference, Prompt, Response, Votes, rank

K = (1, 3, 8, 16)


def at(labels: Sequence[Preference], k: int) -> Preference:
    """The label of the first k: ``labels[n]`` was asked for n+1 verdicts, from the same journal."""
    return labels[k - 1]


async def measure(count: int, most: int, out: Path) -> tuple[list[Preference], list[list[Preference]]]:
    """Exact labels, and for each of them the sampled ones at 1 … ``most`` verdicts."""
    config = resolve(None, [], {"constitution": "harmless", "limit": count}, {})
    templates = Templates.load()
    constitution = load_constitution("harmless", templates)
    with closing(Journal(out / "journal.sqlite")) as journal:
        models = Models(journal)
        engine = models.engine(config.model)

        async def answers(prompt: Prompt) -> list[Comparison]:
            several = [await generate(prompt, engine, config.sample, 0, n) for n in range(2)]
            return pair(several)

        prompts = [(prompt.id, prompt) for prompt in load_prompts(config).train[:count]]
        found = await run_items("answer", prompts, answers)
        pairs = [(one.id, one) for several in found.done for one in several]

        async def labels(settings: LabelConfig) -> list[Preference]:
            asked = Labeler(engine, templates, settings)

            async def work(comparison: Comparison) -> Preference:
                return await label(comparison, asked, constitution, 0)

            return (await run_items("label", pairs, work, bound=64)).done

        exact = await labels(LabelConfig(read="logprobs"))
        await labels(LabelConfig(read="samples", samples=most, max_tokens=8))  # all, once
        every = [
            await labels(LabelConfig(read="samples", samples=k, max_tokens=8)) for k in range(1, most + 1)
        ]
        await models.close()
    kept = [n for n, one in enumerate(exact) if one.p is not None and every[0][n].p is not None]
    return [exact[n] for n in kept], [[several[n] for several in every] for n in kept]


def stopped(labels: Sequence[Preference]) -> tuple[float, tuple[float, float], int]:
    """P and its interval under early stopping, replayed, and the verdicts that it took."""
    parts, used = [], 0
    for order in (0, 1):
        votes = Votes()
        for one in labels:
            reading = one.judgements[0].readings[order]
            assert reading is not None and reading.votes is not None
            votes = reading.votes
            if decided(votes):
                break
        used += votes.usable + votes.abstained
        parts.append(posterior(votes) if order == 0 else posterior(votes).other())
    whole = mean(parts)
    return whole.p, whole.interval, used


def coverage(
    exact: Sequence[Preference], sampled: Sequence[Sequence[Preference]], counts: Sequence[int]
) -> None:
    print("| verdicts in each order | coverage of 95 % | mean width | root mean square error of P |")
    print("|---|---|---|---|")
    for k in counts:
        rows = [(one.p or 0.0, at(several, k)) for one, several in zip(exact, sampled, strict=True)]
        ends = [(p, found.p or 0.0, found.interval or (0.0, 1.0)) for p, found in rows]
        line(f"{k}", [low <= p <= high for p, _, (low, high) in ends], ends)
    early = [(one.p or 0.0, *stopped(several)) for one, several in zip(exact, sampled, strict=True)]
    used = sum(n for *_, n in early) / len(early) / 2
    line(
        f"up to {max(counts)}, stopped early ({used:.1f} on average)",
        [low <= p <= high for p, _, (low, high), _ in early],
        [(p, q, ends) for p, q, ends, _ in early],
    )


def line(name: str, hits: list[bool], ends: list[tuple[float, float, tuple[float, float]]]) -> None:
    share = proportion(hits)
    assert share is not None
    width = sum(high - low for *_, (low, high) in ends) / len(ends)
    error = (sum((p - q) ** 2 for p, q, _ in ends) / len(ends)) ** 0.5
    shown = f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}], n = {share.n}"
    print(f"| {name} | {shown} | {width:.3f} | {error:.3f} |", flush=True)


def rewards(
    exact: Sequence[Preference],
    sampled: Sequence[Sequence[Preference]],
    counts: Sequence[int],
    seeds: int,
    out: Path,
) -> None:
    held = set(range(0, len(exact), 4))
    test = [exact[n] for n in sorted(held)]
    rest = [n for n in range(len(exact)) if n not in held]
    sets: dict[str, list[Preference]] = {"exact": [exact[n] for n in rest]}
    for k in counts:
        sets[f"k = {k}"] = [plain(at(sampled[n], k)) for n in rest]
    few, most = min(counts), max(counts)
    mixed = [at(sampled[n], few if i % 2 else most) for i, n in enumerate(rest)]
    both = f"k = {few} and {most}"
    sets |= {f"{both} by turns": [plain(one) for one in mixed], f"{both}, weighted": mixed}
    config = resolve(None, ["reward_model.epochs=2"], {}, {})
    base = model_path(config.model)
    print("\n| labels | reward model: log-loss against exact labels |\n|---|---|")
    for name, rows in sets.items():
        losses = []
        for seed in range(seeds):
            folder = out / f"reward-{name.replace(' ', '-')}-{seed}"
            pairs = [ranked for row in rows if (ranked := rank(row)) is not None]
            train_reward(base, pairs, config.reward_model, folder, seed, say=lambda text: None)
            losses.append(asyncio.run(log_loss(folder, test)))
        score = interval(losses)
        span = f" [{score.low:.4f}, {score.high:.4f}]" if score else ""
        print(f"| {name} | {sum(losses) / len(losses):.4f}{span}, {len(losses)} seeds |", flush=True)


def plain(one: Preference) -> Preference:
    return replace(one, weight=1.0)


async def log_loss(folder: Path, test: Sequence[Preference]) -> float:
    reward = RewardModel(folder)
    pairs = [one.comparison for one in test]
    scored = await reward.score([Response(c.prompt, text) for c in pairs for text in (c.a, c.b)])
    await reward.close()
    rows = [
        prediction.PairScore(c.id, c.prompt.id, "", (), one.p or 0.0, (a.value or 0.0) - (b.value or 0.0))
        for one, c, a, b in zip(test, pairs, scored[::2], scored[1::2], strict=True)
    ]
    found = prediction.log_loss(rows)
    assert found is not None
    return found.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--verdicts", type=int, nargs="+", default=list(K))
    parser.add_argument("--out", type=Path, default=Path("runs/sampled-labels"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    exact, sampled = asyncio.run(measure(options.pairs, max(options.verdicts), options.out))
    masses = [r.mass for one in exact for j in one.judgements for r in j.readings if r and r.mass is not None]
    average = sum(masses) / len(masses)
    print(f"{len(exact)} pairs; mass of the options: least {min(masses):.4f}, mean {average:.4f}\n")
    coverage(exact, sampled, options.verdicts)
    if options.seeds:
        rewards(exact, sampled, options.verdicts, options.seeds, options.out)


if __name__ == "__main__":
    main()
