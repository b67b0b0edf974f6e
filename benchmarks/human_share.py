"""How many human labels does a training round need, and does it matter which? A simulation with the oracle.

    python -m benchmarks.human_share [--seeds 5] [--out runs/human-share] [--noise 2.5] [--error 0.05]

The base policy of the pocket world answers every prompt twice, and the labeler labels the pairs. Its labels
are made worse by noise on their log-odds (standard deviation ``--noise``), since on this world it is as
good as a person; 0 leaves them as they are. "People" are the oracle, which errs in ``--error`` of the pairs
and calls a tie what it cannot tell apart. A share of the pairs gets a person's label in place of the AI's,
drawn evenly or routed (``human/mixing/routing.py``, with the reward model of the all-AI round). Each mixture
then trains a reward model and, by DPO, a policy. Printed, as means over seeds with t intervals: labels
right, reward model's accuracy on held-out pairs, harmful and gold of the policy, and the part of the gain
from all-AI to all-human labels that the share recovers.

Every finished point is a line of results.jsonl; started again, the benchmark goes on. About a minute a point.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.ablations import badness
from cai.config.run_config import RunConfig
from cai.config.settings import resolve
from cai.data import tables
from cai.engines.backend import model_path
from cai.human.collected import IMPORTED
from cai.human.mixing.routing import route
from cai.human.mixing.slope import logit, sigmoid
from cai.pipeline.launch import execute
from cai.rewards.model import RewardModel
from cai.run.folder import RunFolder
from cai.run.progress import for_stream
from cai.statistics.intervals import interval
from cai.values.types import Comparison, Preference, Response, Source

SHARES = (0.05, 0.1, 0.3)
FIGURES = ("labels right", "reward model right", "harmful", "gold")


@dataclass(frozen=True)
class Point:
    how: str
    share: float

    @property
    def name(self) -> str:
        return f"{self.how}-{self.share}"


POINTS = (
    Point("random", 0.0),
    *(Point(how, share) for share in SHARES for how in ("random", "routed")),
    Point("random", 1.0),
)


def settings(seed: int, **more: Any) -> RunConfig:
    return resolve(None, ["reward_model.epochs=2"], {"seed": seed, "constitution": "harmless", **more}, {})


def with_base_as_sft(path: Path) -> RunFolder:
    """A run folder in which the base model stands where the SFT model would."""
    folder = RunFolder(path)
    checkpoint = folder.checkpoint("sft")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    (path / ".lock").touch()
    if not checkpoint.exists():
        checkpoint.symlink_to(model_path(settings(0).model).resolve())
    return folder


def human(pair: Comparison, seed: int, error: float) -> float:
    """What a person says: the oracle's order, the other one in ``error`` of the cases, or a tie."""
    a, b = badness(pair.prompt, pair.a), badness(pair.prompt, pair.b)
    if a == b:
        return 0.5
    wrong = random.Random(f"{seed} {pair.id}").random() < error
    return float((a < b) != wrong)


def weakened(label: Preference, seed: int, noise: float) -> Preference:
    assert label.p is not None
    shift = random.Random(f"noise {seed} {label.comparison.id}").gauss(0, noise)
    p = sigmoid(logit(label.p) + shift)
    by = p - label.p
    judgements = tuple(
        replace(j, p_a_first=_moved(j.p_a_first, by), p_b_first=_moved(j.p_b_first, by))
        for j in label.judgements
    )
    return replace(label, p=p, judgements=judgements)


def _moved(p: float | None, by: float) -> float | None:
    return None if p is None else min(1.0, max(0.0, p + by))


def right(labels: Sequence[Preference]) -> float:
    """Share of the pairs that the oracle can tell apart on which the label is right."""
    hits = []
    for label in labels:
        pair = label.comparison
        a, b = badness(pair.prompt, pair.a), badness(pair.prompt, pair.b)
        if a != b and label.p is not None:
            hits.append((label.p > 0.5) == (a < b))
    return sum(hits) / len(hits)


def margins(folder: RunFolder, pairs: Sequence[Comparison]) -> list[float]:
    """r(a) - r(b) by the folder's reward model."""
    reward = RewardModel(folder.checkpoint("reward"))
    scored = asyncio.run(reward.score([Response(c.prompt, text) for c in pairs for text in (c.a, c.b)]))
    return [(a.value or 0.0) - (b.value or 0.0) for a, b in zip(scored[::2], scored[1::2], strict=True)]


def reward_model_right(folder: RunFolder, pairs: Sequence[Comparison]) -> float:
    told = [
        (badness(c.prompt, c.a) < badness(c.prompt, c.b)) == (m > 0)
        for c, m in zip(pairs, margins(folder, pairs), strict=True)
    ]
    return sum(told) / len(told)


class Seed:
    """Everything that the points of one seed share."""

    def __init__(self, out: Path, seed: int, noise: float, error: float) -> None:
        self.path, self.seed, self.error = out / str(seed), seed, error
        self.config = settings(seed)
        shared = with_base_as_sft(self.path / "shared")
        execute(self.config, shared.path, ["generate", "sample", "label"], for_stream(True))
        labels = shared.read_table("preferences", tables.preference_from)
        self.labels = [weakened(p, seed, noise) for p in labels if p.p is not None]
        test = with_base_as_sft(self.path / "test")
        held_out = settings(seed + 1000, prompts="pocket:eval")
        execute(held_out, test.path, ["generate", "sample"], for_stream(True))
        pairs = test.read_table("comparisons", tables.comparison_from)
        self.test = [c for c in pairs if badness(c.prompt, c.a) != badness(c.prompt, c.b)]

    def chosen(self, point: Point) -> set[str]:
        """Ids of the pairs that people judge."""
        budget = round(len(self.labels) * point.share)
        if budget == 0:
            return set()
        if point.how == "random":
            ids = [label.comparison.id for label in self.labels]
            return set(random.Random(f"chosen {self.seed}").sample(ids, budget))
        first = RunFolder(self.path / POINTS[0].name)
        pairs = [label.comparison for label in self.labels]
        by_id = dict(zip([pair.id for pair in pairs], margins(first, pairs), strict=True))
        routed = route(self.labels, budget, self.seed, explore=0.0, margins=by_id)
        return {pair.comparison.id for pair in routed}

    def measure(self, point: Point) -> dict[str, float]:
        folder = with_base_as_sft(self.path / point.name)
        chosen = self.chosen(point)
        votes = [
            Preference(pair, human(pair, self.seed, self.error), Source("human", "oracle"))
            for pair in (label.comparison for label in self.labels)
            if pair.id in chosen
        ]
        folder.write_table("preferences", map(tables.preference_row, self.labels))
        if votes:
            folder.write_table(IMPORTED, map(tables.preference_row, votes))
        steps = ["mix", "reward", "dpo", "answer-policy", "grade"]
        execute(self.config, folder.path, steps, for_stream(True))
        mixture = folder.read_table("mixture", tables.preference_from)
        metrics = folder.read_metrics()
        return {
            "labels right": right(mixture),
            "reward model right": reward_model_right(folder, self.test),
            "harmful": metrics["eval/pocket/harmful/policy"].value,
            "gold": metrics["eval/pocket/gold/policy"].value,
        }


def report(rows: Sequence[dict[str, Any]]) -> None:
    """A line per point: means over the seeds, and the part of the gain that is recovered."""
    first, last = POINTS[0].name, POINTS[-1].name
    means: dict[str, dict[str, float]] = {}
    for point in POINTS:
        there = [row for row in rows if row["point"] == point.name]
        if not there:
            continue
        means[point.name] = {f: sum(row[f] for row in there) / len(there) for f in FIGURES}
        cells = []
        for figure in FIGURES:
            score = interval([row[figure] for row in there])
            value = means[point.name][figure]
            span = f" [{score.low:.3f}, {score.high:.3f}]" if score else ""
            cells.append(f"{figure} {value:.3f}{span}")
        print(f"{point.how:<7} {point.share:>5.0%}  n={len(there)}  " + "  ".join(cells))
    if first in means and last in means:
        print("\npart of the gain from all-AI to all-human labels")
        for name, values in means.items():
            parts = []
            for figure in FIGURES:
                gain = means[last][figure] - means[first][figure]
                part = (values[figure] - means[first][figure]) / gain if gain else math.nan
                parts.append(f"{figure} {part:.2f}")
            print(f"{name:<14} " + "  ".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path, default=Path("runs/human-share"))
    parser.add_argument("--noise", type=float, default=2.5)
    parser.add_argument("--error", type=float, default=0.05)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for seed in range(options.first, options.first + options.seeds):
        missing = [p for p in POINTS if not any(r["seed"] == seed and r["point"] == p.name for r in rows)]
        if not missing:
            continue
        shared = Seed(options.out, seed, options.noise, options.error)
        for point in missing:
            row = {"seed": seed, "point": point.name, **shared.measure(point)}
            rows.append(row)
            with results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)
    report(rows)


if __name__ == "__main__":
    main()
