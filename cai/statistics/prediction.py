"""How well a reward model predicts held-out preferences: accuracy, log-loss, calibration.

q = sigmoid(margin) is the model's P(a preferred), p the label's. All three stay the same when a and b are
exchanged. Several pairs may share a prompt: intervals are between prompts, and n counts prompts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.values.types import Score

BINS = 10


@dataclass(frozen=True, slots=True)
class PairScore:
    """A labelled pair: the label's P(a preferred) and the model's reward(a) - reward(b)."""

    id: str
    prompt_id: str
    source: str
    principle_ids: tuple[str, ...]
    p: float
    margin: float

    @property
    def q(self) -> float:
        """The model's P(a preferred)."""
        if self.margin >= 0:
            return 1.0 / (1.0 + math.exp(-self.margin))
        return math.exp(self.margin) / (1.0 + math.exp(self.margin))


def accuracy(pairs: Sequence[PairScore]) -> Score | None:
    """Share of pairs in which label and model prefer the same response.

    A tie of the label (p = 0.5) has no right answer and is left out; a tie of the model is a miss.
    """
    decided = [pair for pair in pairs if pair.p != 0.5]
    hits = [(pair.p - 0.5) * pair.margin > 0 for pair in decided]
    return clustered_proportion(hits, [pair.prompt_id for pair in decided])


def log_loss(pairs: Sequence[PairScore]) -> Score | None:
    """Mean of -p log q - (1-p) log(1-q), in nats. ln 2 = 0.693 is the loss of always saying 0.5."""
    values = [softplus(-pair.margin) + (1.0 - pair.p) * pair.margin for pair in pairs]
    return clustered_mean(values, [pair.prompt_id for pair in pairs], low=0.0)


def calibration_error(pairs: Sequence[PairScore]) -> Score | None:
    """Expected calibration error: Σ_bins n_bin/n |mean label - mean confidence| (Guo et al. 2017, eq. 3).

    Each pair is looked at from the response that the *model* prefers: its confidence is max(q, 1-q), the
    label is P(that response preferred), and the 10 bins divide [0.5, 1] equally. Soft labels enter as they
    are, and ties with 0.5. The error is the mean of (label - confidence) times its bin's sign, and the
    interval is that mean's, with the signs taken as given: where bins are small the figure is too large, as
    it always is.
    """
    gaps: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for pair in pairs:
        confidence = max(pair.q, 1.0 - pair.q)
        label = pair.p if pair.margin >= 0 else 1.0 - pair.p
        if pair.margin == 0:
            label = 0.5  # the model prefers neither
        number = min(BINS - 1, int((confidence - 0.5) * 2 * BINS))
        gaps[number].append((label - confidence, pair.prompt_id))
    values: list[float] = []
    prompts: list[str] = []
    for members in gaps.values():
        sign = 1.0 if sum(gap for gap, _ in members) >= 0 else -1.0
        values += [sign * gap for gap, _ in members]
        prompts += [prompt for _, prompt in members]
    return clustered_mean(values, prompts, low=0.0, high=1.0)


METRICS: dict[str, Callable[[Sequence[PairScore]], Score | None]] = {
    "accuracy": accuracy,
    "log_loss": log_loss,
    "ece": calibration_error,
}


def scores(pairs: Sequence[PairScore]) -> dict[str, Score]:
    """``<metric>`` over all pairs, ``<metric>/source/<name>``, ``<metric>/principle/<id>``.

    A pair that was judged under several principles counts for each of them. What has nothing behind it, or no
    interval, is left out rather than called 0.
    """
    groups: dict[str, list[PairScore]] = {"": list(pairs)}
    for pair in pairs:
        groups.setdefault(f"/source/{pair.source}", []).append(pair)
        for principle in dict.fromkeys(pair.principle_ids):
            groups.setdefault(f"/principle/{principle}", []).append(pair)
    found = {
        metric + group: measure(members)
        for group, members in groups.items()
        for metric, measure in METRICS.items()
    }
    return {name: score for name, score in found.items() if score is not None}


def softplus(value: float) -> float:
    """log(1 + e^value) without overflow."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
