"""The weighted sum of several rewards, scored at the same time.

What needs tokens, the KL to the reference and the penalties for length and for a missing end, is taken
off by the trainer that sees them (``RolloutConfig``).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cai.rewards.reward import Reward, Scored
from cai.run.journal import digest
from cai.values.types import Response


@dataclass(frozen=True, slots=True)
class Weighted:
    """One part of a sum. With weight 0 it is scored and shown, and changes nothing: a held-out reward."""

    reward: Reward
    weight: float


@dataclass(frozen=True, slots=True)
class CombinedReward:
    """``Reward`` Σ wᵢ·rᵢ. ``Scored.parts`` has every rᵢ under the names in ``labels``."""

    parts: tuple[Weighted, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The parts' names, numbered where two are equal."""
        seen: Counter[str] = Counter()
        labels = []
        for part in self.parts:
            name = part.reward.name
            seen[name] += 1
            labels.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
        return tuple(labels)

    @property
    def name(self) -> str:
        return " + ".join(f"{p.weight:g}·{label}" for p, label in zip(self.parts, self.labels, strict=True))

    @property
    def fingerprint(self) -> str:
        return digest("sum", [(part.weight, part.reward.fingerprint) for part in self.parts])

    async def score(self, responses: Sequence[Response]) -> list[Scored]:
        """A response is unscored when a part with a weight other than 0 has no value for it.

        Raises:
            CaiError: one of the rewards is broken; the others are cancelled.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(part.reward.score(responses)) for part in self.parts]
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]
            raise first from first.__cause__
        columns = [task.result() for task in tasks]
        return [self._sum(said) for said in zip(*columns, strict=True)]

    def _sum(self, said: tuple[Scored, ...]) -> Scored:
        """The sum for one response; ``said`` has what each part said of it."""
        labels = self.labels
        parts = tuple((label, scored.value) for label, scored in zip(labels, said, strict=True))
        total, missing = 0.0, []
        for part, label, scored in zip(self.parts, labels, said, strict=True):
            if scored.value is not None:
                total += part.weight * scored.value
            elif part.weight != 0:
                missing.append(f"{label}: {scored.reason}")
        if missing:
            return Scored(None, "; ".join(missing), parts)
        if not math.isfinite(total):
            return Scored(None, f"the weighted sum is {total}", parts)
        return Scored(total, "", parts)
