"""The values that pass between stages. Frozen, standard library only, no storage in them.

Everything a stage reads or returns is one of these. How they are written to a run folder is
``run/folder.py``'s business; how a conversation becomes token ids is ``chat/``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from cai.values.odds import mean_log_odds

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends with a user's turn and waits for an answer.

    ``id`` is unique within a run and stable across runs: seeds are derived from it.
    """

    id: str
    messages: Conversation
    tags: tuple[str, ...] = ()

    def answered(self, response: str) -> Conversation:
        """The conversation with ``response`` as the assistant's next turn."""
        return (*self.messages, Message("assistant", response))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How text is drawn. ``temperature == 0`` is greedy decoding."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()


# --- What is asked of a model -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Sample the assistant's next turn of ``messages``, which starts with ``prefill``.

    ``seed`` makes the draw reproducible where the backend can (see each engine). ``options``: the answer is
    to be one of these. An engine that can constrains it; whoever asks reads strictly all the same.
    """

    messages: Conversation
    sampling: Sampling
    seed: int
    prefill: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """Sampled text, without the prefill and without thought. ``finish`` is "length" when it was cut off.

    ``thought_tokens`` are those of ``completion_tokens`` that were thought, where the engine says so.
    """

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thought_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ChoiceRequest:
    """Log-probability of each option as the direct continuation of ``prefill``."""

    messages: Conversation
    options: tuple[str, ...]
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """``logprobs[i]`` is log P(options[i] | messages, prefill) in nats, not normalised over options.

    At temperature 1 and before any top-p cut; multi-token options are sums over their tokens. ``bounded[i]``:
    the server lists other tokens only, and ``logprobs[i]`` is what the option's can at most be; () where
    none is bounded.
    """

    logprobs: tuple[float, ...]
    prompt_tokens: int = 0
    bounded: tuple[bool, ...] = ()


# --- What the stages make -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Response:
    """The policy's answer to a prompt. ``index`` tells apart several answers to one prompt."""

    prompt: Prompt
    text: str
    finish: Literal["stop", "length"] = "stop"
    index: int = 0


class Outcome(StrEnum):
    """What one critique-revision round came to."""

    REVISED = "revised"
    NO_PROBLEM = "no_problem"  # the critique found nothing; the response stays
    UNCHANGED = "unchanged"  # a problem was named, yet the revision repeats the response
    EMPTY = "empty"  # the revision says nothing (``stages/degenerate.py``); the response stays
    CUT_OFF = "cut_off"  # the revision ran into max_tokens; the response stays
    REFUSED = "refused"  # the critic declined the task of rewriting; the response stays


@dataclass(frozen=True, slots=True)
class Round:
    """One critique and revision. ``response`` is the text that stands after the round."""

    index: int
    principle_id: str
    critique: str | None  # None when revising without critique
    outcome: Outcome
    response: str
    raw_revision: str | None = None  # what the critic wrote, also where it was not accepted
    unread: str | None = None  # why the critique gave no verdict; the revision was asked for all the same


@dataclass(frozen=True, slots=True)
class Transcript:
    """A prompt, its initial response and every round of revision."""

    prompt: Prompt
    initial: str
    rounds: tuple[Round, ...] = ()

    @property
    def final(self) -> str:
        """The text that stands after the last round."""
        return self.rounds[-1].response if self.rounds else self.initial


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A response to learn by SFT, and where it came from.

    ``origin``: "revision" (a critic's revision), "kept" (no round found a problem with the initial
    response), "helpful" (mixed in so that the model stays helpful) or "best" (the best of n by a reward).
    """

    prompt: Prompt
    response: str
    origin: Literal["revision", "kept", "helpful", "best"]
    principle_id: str | None = None
    round: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses to one prompt, in an order that means nothing."""

    id: str
    prompt: Prompt
    a: str
    b: str

    def swap(self) -> Comparison:
        """The same pair, the other way round."""
        return replace(self, a=self.b, b=self.a)


@dataclass(frozen=True, slots=True)
class Votes:
    """Sampled verdicts on one question: for its first option, for its second, ties, and no verdict at all."""

    first: int = 0
    second: int = 0
    ties: int = 0
    abstained: int = 0

    @property
    def usable(self) -> int:
        return self.first + self.second + self.ties


@dataclass(frozen=True, slots=True)
class Reading:
    """What a labeler's answer to one question says: P(the first option), and what it was read from.

    ``mass`` is the probability that both options held together, or the share of sampled replies that named
    one; None where nothing was read. ``bounded``: an option was outside the server's list, and ``p`` is the
    bound that is nearest to 1/2. ``votes``: of sampled verdicts. ``shift``: log-odds that calibration takes
    off ``p``, in nats. ``p`` is None where it is ``unscored``, which says why.
    """

    p: float | None
    mass: float | None = None
    bounded: bool = False
    votes: Votes | None = None
    shift: float = 0.0
    unscored: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """One principle's verdict on a pair: P(a preferred to b), read in each order of showing.

    ``p_a_first`` was read with ``a`` shown as option (A), ``p_b_first`` with ``b`` shown as (A);
    both are probabilities of **a**. A value is None where that order was not asked or was
    unreadable. ``p_single``: likewise, of each response judged by itself, which has no order.
    ``log_odds``: the orders are averaged as such. ``readings``: what the two values were read from, ``a``
    first and ``b`` first, or ``a`` alone and ``b`` alone; () where nobody kept it.
    """

    principle_id: str
    p_a_first: float | None
    p_b_first: float | None
    p_single: float | None = None
    log_odds: bool = False
    readings: tuple[Reading | None, ...] = ()

    @property
    def p(self) -> float | None:
        """Mean over the orders that were read (Lee et al. 2023, §3); None when none was."""
        read = [p for p in (self.p_a_first, self.p_b_first) if p is not None]
        if not read:
            return self.p_single
        return mean_log_odds(read) if self.log_odds else sum(read) / len(read)

    @property
    def flipped(self) -> bool | None:
        """Whether the preferred response changed with the order. None unless both were read."""
        if self.p_a_first is None or self.p_b_first is None:
            return None
        return (self.p_a_first - 0.5) * (self.p_b_first - 0.5) < 0

    def swap(self) -> Judgement:
        def other(p: float | None) -> float | None:
            return None if p is None else 1.0 - p

        return replace(
            self,
            p_a_first=other(self.p_b_first),
            p_b_first=other(self.p_a_first),
            p_single=other(self.p_single),
            readings=self.readings[::-1],
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Who said it: an AI labeler (its model's name) or a human (an annotator's id)."""

    kind: Literal["ai", "human"]
    name: str


@dataclass(frozen=True, slots=True)
class Preference:
    """P(a preferred to b) with the figures behind it. A tie is 0.5.

    ``p is None`` means *unscored*: ``unscored`` then says why and ``raw`` keeps the reply.
    ``weight`` scales the pair's part in a training loss. ``interval``: of P, where sampled verdicts leave
    it open.
    """

    comparison: Comparison
    p: float | None
    source: Source
    judgements: tuple[Judgement, ...] = ()
    unscored: str | None = None
    raw: str | None = None
    weight: float = 1.0
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.p is None and self.unscored is None:
            raise ValueError("an unscored preference must say why")
        if self.p is not None and not 0.0 <= self.p <= 1.0:
            raise ValueError(f"P(a preferred) must lie in [0, 1], got {self.p}")

    def swap(self) -> Preference:
        """The same preference with a and b exchanged: the pair, p and every judgement together."""
        return replace(
            self,
            comparison=self.comparison.swap(),
            p=None if self.p is None else 1.0 - self.p,
            judgements=tuple(j.swap() for j in self.judgements),
            interval=None if self.interval is None else (1.0 - self.interval[1], 1.0 - self.interval[0]),
        )


@dataclass(frozen=True, slots=True)
class Ranked:
    """A preference with the preferred response named: the only place it is decided."""

    prompt: Prompt
    chosen: str
    rejected: str
    p_chosen: float  # in [0.5, 1]
    weight: float


def rank(preference: Preference) -> Ranked | None:
    """Chosen and rejected of a scored preference; None when it is unscored.

    A tie keeps ``a`` as chosen with ``p_chosen = 0.5``, so soft losses see it as a tie.
    """
    if preference.p is None:
        return None
    p = preference if preference.p >= 0.5 else preference.swap()
    assert p.p is not None
    return Ranked(p.comparison.prompt, p.comparison.a, p.comparison.b, p.p, p.weight)


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that was quarantined: which stage, which item, why, and what to look at."""

    stage: str
    item: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """A measured value with its 95 % interval and the number of independent units behind it."""

    value: float
    low: float
    high: float
    n: int


def as_messages(conversation: Sequence[Message]) -> list[dict[str, str]]:
    """The conversation in the list-of-dicts form of transformers, TRL and OpenAI."""
    return [{"role": m.role, "content": m.content} for m in conversation]
