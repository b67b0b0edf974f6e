"""Values → token rows. Rows that cannot be learned are counted with a reason, never cut short silently.

``chat.encoding`` makes the token ids, so that text inside a prompt or a response can never become a
control token. Two kinds of loss are told apart: a ``Failure`` is a row that should have been usable (too
long, not encodable) and is quarantined; ``left_out`` counts rows that a rule drops (identical responses,
a margin below ``min_margin``, weight 0).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cai.chat.encoding import encode_answered, encode_pair
from cai.config.train_config import DPOConfig, OptimizerConfig, RewardModelConfig
from cai.values.errors import ItemError, TrainingError
from cai.values.types import Failure, Prompt, Ranked


@dataclass(frozen=True, slots=True)
class Example:
    """A response that supervised fine-tuning shall imitate."""

    prompt: Prompt
    response: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SFTRow:
    """Token ids of an example; only ``completion`` is learned."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    weight: float

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.completion)

    @property
    def shortest(self) -> int:
        return self.length

    @property
    def tokens(self) -> int:
        return self.length


@dataclass(frozen=True, slots=True)
class PairRow:
    """Token ids of a ranked pair. ``p`` is P(chosen preferred).

    A reward model's sequences are whole conversations, and ``prompt`` is empty.
    """

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    p: float
    weight: float

    @property
    def length(self) -> int:
        """Of the longer of the two sequences, which is what a batch is padded to."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def shortest(self) -> int:
        """Of the shorter of the two."""
        return len(self.prompt) + min(len(self.chosen), len(self.rejected))

    @property
    def tokens(self) -> int:
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


Row = TypeVar("Row", SFTRow, PairRow)
PairConfig = DPOConfig | RewardModelConfig

# What to do about the most frequent reason for which rows are gone.
_ADVICE = {
    "too long": "Raise max_length, or give shorter prompts",
    "tie without soft labels": "Learn from soft labels (soft: true), or give pairs that are not tied",
    "margin below min_margin": "Lower min_margin",
}


@dataclass(frozen=True, slots=True)
class Encoded(Generic[Row]):
    """The usable rows and what became of the others."""

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def encode_examples(tokenizer: Any, examples: Sequence[Example], config: OptimizerConfig) -> Encoded[SFTRow]:
    """Token rows for supervised fine-tuning."""
    rows: list[SFTRow] = []
    failures: list[Failure] = []
    left_out: Counter[str] = Counter()
    for example in examples:
        try:
            if not _weighs(example.weight):
                left_out["weight 0"] += 1
                continue
            prompt, completion = encode_pair(tokenizer, example.prompt.messages, example.response)
            row = SFTRow(tuple(prompt), tuple(completion), example.weight)
            _check(row.length, [row.completion], config.max_length)
            rows.append(row)
        except ItemError as error:
            failures.append(Failure("sft", example.prompt.id, error.reason, error.detail))
    return _usable(Encoded(tuple(rows), tuple(failures), dict(left_out)), "supervised fine-tuning")


def encode_pairs(
    tokenizer: Any, pairs: Sequence[Ranked], config: PairConfig, stage: str = "dpo"
) -> Encoded[PairRow]:
    """Token rows of pairs. With ``config.soft`` off, P is rounded and ties, which then say nothing, go."""
    rows: list[PairRow] = []
    failures: list[Failure] = []
    left_out: Counter[str] = Counter()
    for pair in pairs:
        try:
            reason = _rule(pair, config)
            if reason is not None:
                left_out[reason] += 1
                continue
            rows.append(_pair_row(tokenizer, pair, config, stage))
        except ItemError as error:
            failures.append(Failure(stage, pair.prompt.id, error.reason, error.detail))
    what = {"dpo": "DPO", "reward": "the reward model"}[stage]
    return _usable(Encoded(tuple(rows), tuple(failures), dict(left_out)), what)


def _rule(pair: Ranked, config: PairConfig) -> str | None:
    """Why the pair is left out by rule; None when it stays."""
    if not _weighs(pair.weight):
        return "weight 0"
    if pair.chosen == pair.rejected:
        return "identical responses"
    margin = abs(pair.p_chosen - 0.5)
    if margin < config.min_margin:
        return "margin below min_margin"
    if not config.soft and margin == 0.0:
        return "tie without soft labels"
    return None


def _pair_row(tokenizer: Any, pair: Ranked, config: PairConfig, stage: str) -> PairRow:
    messages = pair.prompt.messages
    if stage == "reward":
        prompt: list[int] = []
        chosen, rejected = (encode_answered(tokenizer, messages, r) for r in (pair.chosen, pair.rejected))
    else:
        prompt, chosen = encode_pair(tokenizer, messages, pair.chosen)
        _, rejected = encode_pair(tokenizer, messages, pair.rejected)
    p = pair.p_chosen if config.soft else float(pair.p_chosen > 0.5)
    row = PairRow(tuple(prompt), tuple(chosen), tuple(rejected), p, pair.weight)
    _check(row.length, [row.chosen, row.rejected], config.max_length)
    return row


def _weighs(weight: float) -> bool:
    if not 0.0 <= weight < float("inf"):
        raise ItemError("bad weight", f"a weight must be a number of at least 0, got {weight}")
    return weight > 0.0


def _check(length: int, completions: Sequence[tuple[int, ...]], max_length: int) -> None:
    if length > max_length:
        raise ItemError("too long", f"{length} tokens, max_length is {max_length}")
    if not all(completions):
        raise ItemError("empty response", "the response has no tokens to learn")


def _usable(encoded: Encoded[Row], what: str) -> Encoded[Row]:
    if encoded.rows:
        return encoded
    reasons = Counter(failure.reason for failure in encoded.failures) + Counter(dict(encoded.left_out))
    ordered = reasons.most_common()
    counts = ", ".join(f"{reason}: {n}" for reason, n in ordered) or "the input was empty"
    advice = _ADVICE.get(ordered[0][0] if ordered else "", "Give more prompts")
    raise TrainingError(f"no usable rows for {what} ({counts}). {advice}.")
