"""AI labels: preference probabilities from the labeler's log-probabilities.

Bai et al. 2022, §4.1: the options' normalised log-probabilities are the target, under a principle
drawn for each pair. Lee et al. 2023, §3: both orders are asked and averaged, because a labeler favours
a position. Nothing is parsed from text: even after a chain of thought the verdict is a log-probability.

A pair with a response that says nothing (``degenerate.py``) is not asked about: a labeler must name a letter,
and such a response would win by it. No rule makes the other one the better either: of ":" and a harmful
answer, no principle was asked. The pair is unscored, and nothing learns from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cai.config.run_config import LabelConfig
from cai.constitution.load import Constitution, Principle, draw_many
from cai.constitution.templates import Templates
from cai.engines.engine import Engine
from cai.run.journal import derive_seed
from cai.stages.degenerate import degenerate
from cai.values.errors import ItemError
from cai.values.types import (
    ChoiceRequest,
    Comparison,
    CompletionRequest,
    Conversation,
    Judgement,
    Message,
    Preference,
    Sampling,
    Source,
)

OPTIONS = ("A", "B")
SAYS_NOTHING = "a response says nothing"  # by rule, and no failure: nobody was asked


@dataclass(frozen=True, slots=True)
class Labeler:
    """What judging a pair needs besides the pair."""

    engine: Engine
    templates: Templates
    config: LabelConfig


async def label(
    comparison: Comparison, labeler: Labeler, constitution: Constitution, seed: int
) -> Preference:
    """P(a preferred to b): the mean over ``config.principles`` drawn principles.

    A principle whose verdict could not be read in an order that was asked does not count; when none
    is left the preference is unscored, with the reason and the reply. So is a pair with a degenerate response
    (``SAYS_NOTHING``), of which the labeler is not asked.
    """
    source = Source("ai", labeler.engine.name)
    if faults := says_nothing(comparison):
        return Preference(comparison, None, source, (), SAYS_NOTHING, faults)
    judgements: list[Judgement] = []
    problems: list[ItemError] = []
    for principle in draw_many(constitution, labeler.config.principles, seed, comparison.id):
        judgement, trouble = await judge(comparison, principle, labeler, seed)
        judgements.append(judgement)
        problems += trouble
    read = [j.p for j in judgements if j.p is not None and _complete(j, labeler.config)]
    if not read:
        reason = problems[0].reason if problems else "no principle could be judged"
        return Preference(
            comparison, None, source, tuple(judgements), reason, "\n".join(str(p) for p in problems)
        )
    return Preference(comparison, sum(read) / len(read), source, tuple(judgements))


def says_nothing(comparison: Comparison) -> str:
    """Which of the two responses are degenerate and why; "" where both say something."""
    found = ((name, degenerate(text)) for name, text in (("a", comparison.a), ("b", comparison.b)))
    return "; ".join(f"{name}: {fault}" for name, fault in found if fault)


async def judge(
    comparison: Comparison, principle: Principle, labeler: Labeler, seed: int
) -> tuple[Judgement, list[ItemError]]:
    """One principle's verdict in each order, and what went wrong where an order is missing."""
    problems: list[ItemError] = []

    async def p_first(shown: Comparison) -> float | None:
        try:
            return await _p_first(shown, principle, labeler, seed)
        except ItemError as error:
            problems.append(error)
            return None

    a_first = await p_first(comparison)
    b_first = await p_first(comparison.swap()) if labeler.config.both_orders else None
    judgement = Judgement(principle.id, a_first, None if b_first is None else 1.0 - b_first)
    return judgement, problems


async def _p_first(shown: Comparison, principle: Principle, labeler: Labeler, seed: int) -> float:
    """P(the response shown as (A) is better)."""
    config, templates = labeler.config, labeler.templates
    shots = templates.label_shots(config.few_shot, config.chain_of_thought)
    render = templates.label_cot if config.chain_of_thought else templates.label
    question = Message("user", render(shown.prompt.messages, shown.a, shown.b, principle))
    conversation: Conversation = (*shots, question)
    answer = templates.label_answer(principle)
    if config.chain_of_thought:
        key = derive_seed(seed, shown.id, principle.id, shown.a)
        request = CompletionRequest(conversation, Sampling(max_tokens=config.max_tokens), key)
        thought = (await labeler.engine.complete(request)).text.strip()
        answer = templates.cot_answer(thought, principle)
    choice = await labeler.engine.choose(ChoiceRequest(conversation, OPTIONS, answer))
    p = probability(choice.logprobs[0], choice.logprobs[1], config.temperature)
    if config.chain_of_thought:
        # Bai et al. 2022, §4.1: after a chain of thought the odds saturate; clamp them.
        low, high = config.clamp
        p = min(max(p, low), high)
    return p


def probability(first: float, second: float, temperature: float = 1.0) -> float:
    """P(first) from two log-probabilities, normalised over the two: σ((first − second)/temperature)."""
    odds = (second - first) / temperature
    if odds > 700:  # exp would overflow; the probability is 0 in float64
        return 0.0
    return 1.0 / (1.0 + math.exp(odds))


def _complete(judgement: Judgement, config: LabelConfig) -> bool:
    orders = (judgement.p_a_first, judgement.p_b_first)[: 2 if config.both_orders else 1]
    return all(p is not None for p in orders)
