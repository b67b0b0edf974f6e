"""The protocol of every reward: responses in, one number each out, or the reason why there is none.

A reward takes whole responses as text, so it may use another tokenizer than the policy. What cannot be
scored is *unscored* with its reason: never 0, and never a reason to lose the other responses of a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cai.values.types import Response


@dataclass(frozen=True, slots=True)
class Scored:
    """A response's reward. ``value`` is None where there is none; ``reason`` then says why.

    ``parts``: name and own value, before its weight, of every part of a sum of rewards.
    """

    value: float | None
    reason: str = ""
    parts: tuple[tuple[str, float | None], ...] = ()

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("an unscored response must say why")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a reward must be finite, got {self.value}")


class Reward(Protocol):
    """Scores responses. Higher is better; the scale is the reward's own."""

    @property
    def name(self) -> str:
        """What to call it in metrics and messages."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of everything besides the response that shapes a score."""
        ...

    async def score(self, responses: Sequence[Response]) -> list[Scored]:
        """One ``Scored`` per response, in order.

        Raises:
            CaiError: the reward itself is broken (not: one response that it cannot score).
        """
        ...
