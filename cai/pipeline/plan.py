"""What a run will ask of models at most, step by step, before any is asked (``--dry-run``).

The stages themselves are walked over a few of the run's prompts, with an engine that answers at the length
that it may and counts: so the plan knows the templates, the worked examples and the constitution, and
changes with them. Less in the end: what the journal has, answers that end early, equal answers, critiques
that find nothing. Tokens are estimated from characters, since a model on a server shows no tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from cai.config.run_config import ModelConfig, RunConfig
from cai.constitution.load import Constitution
from cai.constitution.templates import Templates
from cai.data.promptsets import PromptSets
from cai.engines import models
from cai.engines.backend import base_url, on_a_server
from cai.engines.prices import CHARACTERS_PER_TOKEN, dollars, price_of
from cai.evaluation.estimate import never_lists
from cai.evaluation.judging.judge import judge_answer
from cai.pipeline.order import steps_of
from cai.rewards.direct_judge import JudgeReward
from cai.stages.generate import generate, pair
from cai.stages.judge_reading import Judging
from cai.stages.label import Labeler, label
from cai.stages.revise import Critic, revise
from cai.values.errors import NoLogprobsError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest, Prompt, Response

SAMPLE = 16  # prompts that the stages are walked over
DRAWING = ("ppo", "grpo", "rloo", "best-sample")
GRADED = 3  # base, SFT model and policy answer the held-out prompts


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests of one step to one model at most, and the tokens of all of them together."""

    step: str
    model: ModelConfig
    calls: int
    read: float
    written: float
    thought: float = 0.0  # of those written, where the setting says how many at most

    @property
    def usd(self) -> float | None:
        """US dollars; 0 for a model in this process, None where the price is not known."""
        if not on_a_server(self.model):
            return 0.0
        price = price_of(self.model, base_url(self.model), batch=self.model.batch)
        return None if price is None else dollars(price, self.read, self.written)


@dataclass
class Gauge:
    """``engine.Engine`` that answers with as many words as it may, and counts.

    ``lists``: whether the model gives log-probabilities; one that does not is asked for verdicts.
    """

    lists: bool = True
    room: int = 0  # tokens of thought beside those of an answer
    name: str = "gauge"
    fingerprint: str = ""
    calls: int = 0
    read: float = 0.0
    written: float = 0.0
    thought: float = 0.0

    async def complete(self, request: CompletionRequest) -> Completion:
        self._count(request, request.sampling.max_tokens + self.room)
        self.thought += self.room
        said = request.options[0] if request.options else filler(request.sampling.max_tokens)
        return Completion(said, "stop")

    async def choose(self, request: ChoiceRequest) -> Choice:
        if not self.lists:
            raise NoLogprobsError("known beforehand")
        self._count(request, 1)
        even = 1.0 / len(request.options)
        return Choice((math.log(even),) * len(request.options))

    async def close(self) -> None:
        return None

    def _count(self, request: CompletionRequest | ChoiceRequest, written: int) -> None:
        self.calls += 1
        self.read += tokens(*(m.content for m in request.messages), request.prefill)
        self.written += written


def tokens(*texts: str) -> float:
    """About how many tokens the texts have."""
    return sum(map(len, texts)) / CHARACTERS_PER_TOKEN


def filler(count: int, first: str = "some") -> str:
    """A text of about ``count`` tokens that says something as far as any rule can see."""
    return (first + " text that fills" * count)[: max(len(first), int(count * CHARACTERS_PER_TOKEN))].strip()


async def demands(
    config: RunConfig, constitution: Constitution, templates: Templates, sets: PromptSets
) -> list[Demand]:
    """The steps of one round that ask a model, in their order."""
    train, helpful, held_out = sets.train, sets.helpful, sets.held_out
    critic, labeler, judge = models.critic(config), models.labeler(config), models.judge(config)
    said = filler(config.generate.max_tokens)
    answering, how = _answering(config.generate.max_tokens), Judging(config.label)

    async def revised(prompt: Prompt, gauge: Gauge) -> None:
        await revise(Response(prompt, said), Critic(gauge, templates, config.revise), constitution, 0)

    async def sampled(prompt: Prompt, gauge: Gauge) -> None:
        for index in range(config.sample.n):
            await generate(prompt, gauge, config.sample, 0, index)

    async def labeled(prompt: Prompt, gauge: Gauge) -> None:
        texts = [filler(config.sample.max_tokens, f"text{i}") for i in range(config.sample.n)]
        answers = [Response(prompt, text, index=i) for i, text in enumerate(texts)]
        for comparison in pair(answers):
            await label(comparison, Labeler(gauge, templates, config.label), constitution, 0)

    async def graded(prompt: Prompt, gauge: Gauge) -> None:
        await judge_answer(prompt, filler(config.evaluate.max_tokens), gauge, templates, how)

    async def scored(prompt: Prompt, gauge: Gauge) -> None:
        for term in terms:
            judge_reward = JudgeReward(gauge, templates, constitution, term.principles, 0, how=how)
            await judge_reward.score([Response(prompt, said)])

    steps = steps_of(config)
    asks = (*(config.reward if config.method != "dpo" else ()), *([config.gold] if config.gold else ()))
    terms = [term for term in asks if term.source == "judge"]
    found = {
        "generate": await _over("generate", config.model, [*train, *helpful], answering),
        "revise": await _over("revise", critic, train, revised),
        "sample": await _over("sample", config.model, train, sampled),
        "label": await _over("label", labeler, train, labeled),
        **{name: _drawn(config, name, train) for name in DRAWING},
    }
    best = config.best_of_n.n if "answer-best-of-n" in steps else 0
    answers = await _over("answers", config.model, held_out, _answering(config.evaluate.max_tokens))
    wanted = [found[step] for step in steps if step in found]
    if terms:
        drawn = sum(demand.calls for demand in wanted if demand.step in DRAWING)
        one = await _over("reward by the judge", labeler, train, scored)
        wanted.append(_times(one, drawn / max(1, len(train))))
    if "answer-policy" in steps:
        wanted.append(_times(answers, GRADED + best))
    if "grade" in steps and not (config.evaluate.prompts or "").startswith("pocket:"):
        one = await _over("grade", judge, held_out, graded)
        wanted.append(_times(one, GRADED + bool(best)))
    if "grade" in steps and not (config.prompts or "").startswith("pocket:"):
        one = await _over("grade revisions", judge, train[: config.evaluate.revisions], graded)
        wanted.append(_times(one, config.revise.rounds + 1))
    return [demand for demand in wanted if demand.calls]


def judged(demand: Sequence[Demand], config: RunConfig, calls: int, name: str) -> Demand:
    """``calls`` of a suite to the judge, each as long as one of the judge's questions about an answer."""
    known = [one for one in demand if one.step.startswith("grade")]
    read = (
        mean(one.read / one.calls for one in known) if known else tokens(filler(config.evaluate.max_tokens))
    )
    return Demand(name, models.judge(config), calls, calls * read, calls)


def _answering(most: int) -> Callable[[Prompt, Gauge], Awaitable[None]]:
    async def answered(prompt: Prompt, gauge: Gauge) -> None:
        gauge.calls += 1
        gauge.read += tokens(*(message.content for message in prompt.messages))
        gauge.written += most + gauge.room
        gauge.thought += gauge.room

    return answered


def gauge_of(model: ModelConfig) -> Gauge:
    """Of a model as it is set to be."""
    return Gauge(not never_lists(model), room_for_thought(model))


def room_for_thought(model: ModelConfig) -> int:
    """Tokens of thought beside those of an answer; without a number of them they are among the answer's."""
    return model.thinking if type(model.thinking) is int else 0


async def _over(
    step: str, model: ModelConfig, prompts: Sequence[Prompt], work: Callable[[Prompt, Gauge], Awaitable[None]]
) -> Demand:
    """``work`` over a sample of ``prompts``, evenly spaced, scaled to all of them."""
    gauge, shown = gauge_of(model), prompts[:: max(1, len(prompts) // SAMPLE)]
    for prompt in shown:
        await work(prompt, gauge)
    scale = len(prompts) / len(shown) if shown else 0.0
    counts = (gauge.read * scale, gauge.written * scale, gauge.thought * scale)
    return Demand(step, model, round(gauge.calls * scale), *counts)


def _drawn(config: RunConfig, method: str, train: Sequence[Prompt]) -> Demand:
    """The responses that reinforcement learning and best-of-n draw from the policy."""
    size = tokens(*(m.content for prompt in train for m in prompt.messages)) / max(1, len(train))
    calls, longest = {
        "ppo": (config.ppo.steps * config.ppo.prompts, config.ppo.max_tokens),
        "grpo": (config.grpo.steps * config.grpo.prompts * config.grpo.group_size, config.grpo.max_tokens),
        "rloo": (config.rloo.steps * config.rloo.prompts * config.rloo.group_size, config.rloo.max_tokens),
        "best-sample": (len(train) * config.best_of_n.n, config.best_of_n.max_tokens),
    }[method]
    return Demand(method, config.model, calls, calls * size, calls * longest)


def _times(demand: Demand, n: float) -> Demand:
    counts = (demand.read * n, demand.written * n, demand.thought * n)
    return Demand(demand.step, demand.model, round(demand.calls * n), *counts)
