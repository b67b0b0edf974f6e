"""``cai route``: the pairs of a run that people should judge, as a queue for the voting page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cai.data import tables
from cai.human.collected import votes_of
from cai.human.mixing.routing import Routed, route
from cai.human.pairs import pair_key
from cai.run.folder import RunFolder
from cai.values.errors import UsageError
from cai.values.types import Comparison, Response

TABLE = "queue"


@dataclass(frozen=True, slots=True)
class Queue:
    """What was routed: ``reasons`` counts pairs by what spoke for them."""

    labels: int
    judged: int
    queued: int
    reasons: dict[str, int]


def write_queue(path: Path, budget: int, explore: float, seed: int) -> Queue:
    """Fill data/queue.parquet with at most ``budget`` of the run's labeled pairs; what was there is replaced.

    Pairs that people have judged are left out. Where the run has a reward model, its margins are signals too.

    Raises:
        UsageError: no run folder, no labels, a budget below 1, a share outside [0, 1], or no pair is left.
    """
    if not (path / "config.yaml").is_file():
        raise UsageError(f"{path}: not a run folder (no config.yaml); cai run makes one")
    if budget < 1 or not 0 <= explore <= 1:
        raise UsageError("--budget must be at least 1 and --explore between 0 and 1")
    folder = RunFolder(path)
    with folder.locked():
        labels = folder.read_table("preferences", tables.preference_from)
        seen = {pair_key(vote.comparison) for vote in votes_of(folder) if vote.source.kind == "human"}
        margins = _margins(folder, [label.comparison for label in labels])
        routed = route(labels, budget, seed, explore=explore, margins=margins, seen=seen)
        folder.write_table(TABLE, map(_row, routed))
    reasons = Counter(pair.reason for pair in routed)
    judged = sum(pair_key(label.comparison) in seen for label in labels)
    return Queue(len(labels), judged, len(routed), dict(reasons.most_common()))


def describe(queue: Queue, path: Path) -> list[str]:
    """Lines for a person."""
    lines = [f"{queue.queued} of {queue.labels} pairs are queued; people had judged {queue.judged}"]
    lines += [f"  {count:>5} {reason}" for reason, count in queue.reasons.items()]
    return [*lines, f"now: cai annotate {path}"]


def _margins(folder: RunFolder, comparisons: Sequence[Comparison]) -> dict[str, float]:
    """r(a) - r(b) by the run's reward model, of the pairs that it can score; none without a model."""
    checkpoint = folder.checkpoint("reward")
    if not (checkpoint / "config.json").exists():
        return {}
    import asyncio

    from cai.rewards.model import RewardModel

    reward = RewardModel(checkpoint)
    responses = [Response(pair.prompt, text) for pair in comparisons for text in (pair.a, pair.b)]
    scored = asyncio.run(reward.score(responses))
    return {
        pair.id: a.value - b.value
        for pair, a, b in zip(comparisons, scored[::2], scored[1::2], strict=True)
        if a.value is not None and b.value is not None
    }


def _row(pair: Routed) -> dict[str, object]:
    return {
        **tables.comparison_row(pair.comparison),
        "rank": pair.rank,
        "score": pair.score,
        "reason": pair.reason,
        "signals": [{"name": name, "value": value} for name, value in pair.signals.items()],
    }
