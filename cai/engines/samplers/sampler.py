"""Drawing responses from a policy that changes while it is being trained: token ids in, token ids out.

Engines answer requests of a fixed model; a sampler follows the weights of a model in training. It gives
the log-probability of every token that it drew, so that the trainer can weigh what the two see differently.
Left out: stop strings (a trained policy ends with its end token), and nucleus sampling, whose probabilities
are not those of the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from cai.values.errors import EngineError

POLICY_ADAPTER = "default"  # of a LoRA model: the adapter that is the policy


@dataclass(frozen=True, slots=True)
class Draw:
    """A sampled response. ``ids`` holds its end token where it ended by itself (``finish`` "stop").

    ``logprobs[i]`` is log P(ids[i] | prompt, ids[:i]) in nats at the sampling temperature, over the whole
    vocabulary, as the sampler computed it.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]


class Sampler(Protocol):
    """Draws from the weights that ``sync`` last gave it."""

    @property
    def dtype(self) -> str:
        """The number format in which it computes: "float32", "bfloat16" or "float16"."""
        ...

    def sync(self, model: Any) -> None:
        """Take over the weights of ``model``, a transformers causal language model (LoRA merged in)."""
        ...

    def sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], max_tokens: int, temperature: float
    ) -> list[Draw]:
        """One response per prompt, in order. ``seeds[i]`` makes draw ``i`` reproducible (in float32).

        Raises:
            EngineError: a prompt leaves no room for a response, or the model fails.
        """
        ...

    def close(self) -> None:
        """Free the memory. Idempotent."""
        ...


def check_room(prompts: Sequence[Sequence[int]], context: int) -> None:
    """Raise EngineError where a prompt of token ids fills the whole context."""
    for place, prompt in enumerate(prompts):
        if not 0 < len(prompt) < context:
            raise EngineError(
                f"prompt {place} has {len(prompt)} tokens, and the model takes 1 to {context - 1} before a "
                "response. Leave such prompts out: max_prompt_tokens does."
            )
