"""How a judge's answer about one text is read: the one way of labels.

By log-probabilities where the model gives them and the options hold ``label.min_mass`` of the probability,
else by ``label.samples`` verdicts, of which as many have to be readable (``label.read`` insists on either).
What is below that, or below ``FLOOR``, is no grade. ``label.temperature`` and chains of thought are labels'
own and not a judge's.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from cai.config.run_config import LabelConfig
from cai.engines.engine import Engine
from cai.run.journal import derive_seed
from cai.stages.label_question import WORDS, Question
from cai.stages.label_reading import Way, read
from cai.values.errors import ItemError, NoLogprobsError
from cai.values.types import ChoiceRequest, CompletionRequest, Conversation, Message, Sampling
from cai.values.words import excerpt

FLOOR = 0.1  # also where labels have none: a judge in the tail of its answer was about to say something else
_DRESS = r"[\s\"'“”‘’`*_#>\[({]*"
_BEGUN = re.compile(
    rf"{_DRESS}(?:(?:my|the|final|overall)\s+)*(?:(?:rating|score|answer)(?:\s+is|\s*[:=])?)?{_DRESS}"
    r"(?P<number>\d+)(?P<rest>(?!\d|[.,]\d).*)",
    re.IGNORECASE | re.DOTALL,
)
_OUT_OF = re.compile(r"\s*(?:/|out\s+of)\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Judging:
    """Of the settings of labels, those that a judge is read by; what ``auto`` has found out of it."""

    label: LabelConfig = field(default_factory=LabelConfig)
    way: Way = field(default_factory=Way)

    @property
    def config(self) -> LabelConfig:
        own = {"temperature": 1.0, "chain_of_thought": False, "min_mass": max(self.label.min_mass, FLOOR)}
        return self.label.model_copy(update=own)


async def p_yes(turn: str, engine: Engine, how: Judging) -> float:
    """P(Yes) over P(Yes) + P(No) as the answer to ``turn``.

    Raises:
        ItemError: the two hold too little of the probability, or of the verdicts.
        EngineError: the engine is broken, or gives no log-probabilities where they are insisted on.
    """
    question = Question((Message("user", turn),), WORDS, (turn,))
    reading = await read(question, engine, how.config, how.way, 0)
    if reading.p is None:
        raise ItemError("unreadable judgement", reading.unscored or "")
    return reading.p


@dataclass(frozen=True, slots=True)
class Expected:
    """``value``: the mean number; ``carried``: the share of the probability, or of replies, behind it."""

    value: float
    carried: float


@dataclass(frozen=True, slots=True)
class Scale:
    """One of ``numbers`` is the answer, after ``prefill``; ``end`` stands behind it where log P is read."""

    numbers: Sequence[int]
    prefill: str
    end: str = ""


async def expected(conversation: Conversation, scale: Scale, engine: Engine, how: Judging) -> Expected:
    """The expectation of the number that the judge answers with.

    Raises:
        ItemError: the numbers hold too little of the probability, or of the verdicts.
        EngineError: as ``p_yes``.
    """
    if how.label.read != "samples" and not (how.label.read == "auto" and how.way.sampled):
        try:
            options = tuple(f"{number}{scale.end}" for number in scale.numbers)
            choice = await engine.choose(ChoiceRequest(conversation, options, scale.prefill))
        except NoLogprobsError:
            if how.label.read == "logprobs":
                raise
            how.way.sampled = True
        else:
            return _of_logprobs(scale.numbers, choice.logprobs, how.config.min_mass)
    return await _of_samples(conversation, scale, engine, how.config)


def _of_logprobs(numbers: Sequence[int], logprobs: Sequence[float], least: float) -> Expected:
    weights = [math.exp(logprob) for logprob in logprobs]
    carried = sum(weights)
    if not carried >= least or carried <= 0:  # also where it is not a number
        raise ItemError(
            "unreadable rating",
            f"{numbers[0]} to {numbers[-1]} have a probability of {carried:.3f} together "
            f"(label.min_mass is {least:g})",
        )
    value = sum(n * weight for n, weight in zip(numbers, weights, strict=True)) / carried
    return Expected(value, min(1.0, carried))


async def _of_samples(
    conversation: Conversation, scale: Scale, engine: Engine, config: LabelConfig
) -> Expected:
    """Each verdict is a request with a seed of its own: none is paid for twice."""
    options = tuple(map(str, scale.numbers))

    async def draw(place: int) -> tuple[int | None, str]:
        seed = derive_seed(0, conversation[-1].content, "number", place)
        request = CompletionRequest(
            conversation, Sampling(max_tokens=config.max_tokens), seed, scale.prefill, options
        )
        try:
            reply = await engine.complete(request)
        except ItemError as error:
            return None, str(error)
        return number_in(reply.text, scale.numbers, scale.prefill, reply.finish == "length"), reply.text

    drawn = await asyncio.gather(*(draw(place) for place in range(config.samples)))
    usable = [number for number, _ in drawn if number is not None]
    if not usable or len(usable) / len(drawn) < config.min_mass:
        other = next(said for number, said in drawn if number is None)
        few = f"only {len(usable)} of {len(drawn)}" if usable else f"none of {len(drawn)}"
        raise ItemError(
            "unreadable rating",
            f"{few} sampled replies are one of the numbers; the first of the others: {excerpt(other, 80)!r}",
        )
    return Expected(fmean(usable), len(usable) / len(drawn))


def number_in(reply: str, numbers: Sequence[int], prefill: str = "", cut_off: bool = False) -> int | None:
    """The number that ``reply`` rates with; None where it names none of them, or any other beside it."""
    begun = prefill.rstrip().rpartition("\n")[2]
    found = _BEGUN.match(reply.strip() if not begun or begun not in reply else reply.rpartition(begun)[2])
    if found is None or int(found["number"]) not in numbers or (cut_off and not found["rest"].strip()):
        return None
    rest = found["rest"]
    out_of = _OUT_OF.match(rest)
    if out_of is not None:
        if int(out_of[1]) != numbers[-1]:
            return None
        rest = rest[out_of.end() :]
    return None if re.search(r"\d", rest) else int(found["number"])
