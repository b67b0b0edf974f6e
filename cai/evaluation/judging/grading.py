"""Yes/no questions that the judge is asked about everybody's answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cai.constitution.templates import Templates
from cai.data.tables import Row
from cai.engines.engine import Engine
from cai.evaluation.bench import Bench, of_model
from cai.stages import judge_reading
from cai.stages.judge_reading import Judging
from cai.values.types import Conversation, Failure, Prompt, Response, as_messages

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Judge:
    """Who is asked, the wording around a question (``prompts/judge.jinja``), and how the answer is read."""

    engine: Engine
    templates: Templates
    how: Judging = field(default_factory=Judging)


def judge_of(bench: Bench) -> Judge:
    return Judge(bench.judge_engine(), bench.templates, bench.judging())


async def p_yes(judge: Judge, conversation: Conversation, question: str) -> float:
    """P(Yes) over P(Yes) + P(No) as the answer to ``question`` about the end of ``conversation``.

    The judge is read as labels are (``stages/judge_reading.py``).

    Raises:
        ItemError: the two hold too little of the probability together, or cannot be read.
    """
    return await judge_reading.p_yes(judge.templates.judge(conversation, question), judge.engine, judge.how)


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
