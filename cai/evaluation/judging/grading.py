"""Yes/no questions that the judge is asked about everybody's answers, read from log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cai.config.run_config import LabelConfig
from cai.constitution.templates import Templates
from cai.data.tables import Row
from cai.engines.engine import Engine
from cai.evaluation.bench import Bench, of_model
from cai.stages.label_logprobs import probability
from cai.stages.label_question import Question
from cai.stages.label_samples import read_samples
from cai.values.errors import ItemError, NoLogprobsError
from cai.values.types import ChoiceRequest, Conversation, Failure, Message, Prompt, Response, as_messages

T = TypeVar("T")
R = TypeVar("R")
OPTIONS = ("Yes", "No")
FLOOR = 0.1  # with less probability on both options together the judge was about to say something else
SAMPLED = LabelConfig(samples=8)  # verdicts of a judge that gives no log-probabilities


@dataclass(frozen=True, slots=True)
class Judge:
    """Who is asked, and the wording around a question (``prompts/judge.jinja``)."""

    engine: Engine
    templates: Templates


def judge_of(bench: Bench) -> Judge:
    return Judge(bench.judge_engine(), bench.templates)


async def p_yes(judge: Judge, conversation: Conversation, question: str) -> float:
    """P(Yes) over P(Yes) + P(No) as the answer to ``question`` about the end of ``conversation``.

    Of a judge without log-probabilities verdicts are drawn instead (``stages/label_samples.py``).

    Raises:
        ItemError: the two have less than ``FLOOR`` of the probability together, or cannot be read.
    """
    turn = Message("user", judge.templates.judge(conversation, question))
    try:
        yes, no = (await judge.engine.choose(ChoiceRequest((turn,), OPTIONS))).logprobs
    except NoLogprobsError:
        reading = await read_samples(Question((turn,), OPTIONS, (turn.content,)), judge.engine, SAMPLED, 0)
        if reading.p is None:
            raise ItemError("unreadable judgement", reading.unscored or "") from None
        return reading.p
    carried = math.exp(yes) + math.exp(no)
    if not carried >= FLOOR:  # also where it is not a number
        raise ItemError("unreadable judgement", f"Yes and No have a probability of {carried:.2g} together")
    return probability(yes, no)


async def grade_all(
    bench: Bench,
    label: str,
    answers: Mapping[str, Sequence[tuple[str, T]]],
    work: Callable[[T], Awaitable[R]],
) -> tuple[dict[str, list[R]], list[Failure]]:
    """The judge's ``work`` on every model's ``(id, item)`` pairs; what it could not read is quarantined."""
    found: dict[str, list[R]] = {}
    failures: list[Failure] = []
    for name, items in answers.items():
        results = await bench.each(f"judge: {label}, {name}", bench.judge_engine(), items, work)
        found[name] = results.done
        failures += of_model(name, results.failures)
    return found, failures


def by_id(answers: Mapping[str, Sequence[Response]]) -> dict[str, list[tuple[str, Response]]]:
    """Everybody's responses with their prompts' ids, as ``grade_all`` takes them."""
    return {name: [(one.prompt.id, one) for one in own] for name, own in answers.items()}


def asked(model: str, prompt: Prompt, response: str) -> Row:
    """The columns with which a judged answer's row begins."""
    messages = as_messages(prompt.messages)
    return {"model": model, "prompt_id": prompt.id, "prompt": messages, "response": response}
