"""Critique and revision (Bai et al. 2022, §3.1): N rounds, a principle drawn afresh for each.

What the critic reads in round n is the conversation, the response that stands after round n-1, a
critique request, its own critique, and a revision request. Few-shot examples stand before all of it.
"""

from __future__ import annotations

import re

from cai.config import ReviseConfig
from cai.constitution import Constitution, Principle, draw
from cai.engines.base import Engine
from cai.journal import derive_seed
from cai.stages.generate import sampling
from cai.templates import Templates
from cai.types import (
    Completion,
    CompletionRequest,
    Conversation,
    Message,
    Outcome,
    Prompt,
    Response,
    Round,
    Transcript,
)

# The critic declines the *task*. A revision that declines the user's request is a good revision
# ("I can't help with picking that lock"), so only words about rewriting count.
_REFUSED_TASK = re.compile(
    r"\b(?:can(?:no|')t|cannot|won't|unable to|not able to|not comfortable)\b[^.!?\n]{0,40}"
    r"\b(?:revis\w*|rewrit\w*|re-writ\w*|critique\w*|edit(?:ing)? (?:this|that|the) response)\b",
    re.IGNORECASE,
)


async def revise(
    response: Response,
    engine: Engine,
    constitution: Constitution,
    templates: Templates,
    config: ReviseConfig,
    seed: int,
) -> Transcript:
    """Run every round on one response.

    ``seed`` names the run and the stage; prompt id and round are added here, both for the draw of the
    principle and for the sampling, so neither depends on the order in which items finish.
    """
    prompt = response.prompt
    current = response.text
    rounds: list[Round] = []
    for index in range(config.rounds):
        principle = draw(constitution, seed, prompt.id, index)
        step = _Step(engine, templates, config, derive_seed(seed, prompt.id, index))
        done = await step.run(index, prompt, current, principle)
        rounds.append(done)
        current = done.response
    return Transcript(prompt, response.text, tuple(rounds))


class _Step:
    """One round; holds what stays the same between its two requests."""

    def __init__(self, engine: Engine, templates: Templates, config: ReviseConfig, seed: int):
        self._engine = engine
        self._templates = templates
        self._config = config
        self._seed = seed

    async def run(self, index: int, prompt: Prompt, current: str, principle: Principle) -> Round:
        critique: str | None = None
        conversation = (*self._templates.critique_shots(self._config.few_shot), *prompt.answered(current))
        if self._config.critique:
            conversation = (*conversation, Message("user", self._templates.critique(principle)))
            critique = (await self._ask(conversation, "critique")).text.strip()
            if self._templates.no_problem.rstrip(".").lower() in critique.lower():
                return Round(index, principle.id, critique, Outcome.NO_PROBLEM, current)
            if _REFUSED_TASK.search(critique):
                return Round(index, principle.id, critique, Outcome.REFUSED, current)
            conversation = (*conversation, Message("assistant", critique))
        conversation = (*conversation, Message("user", self._templates.revision(principle)))
        completion = await self._ask(conversation, "revision")
        text = completion.text.strip()
        outcome = judge_revision(current, text, completion.finish)
        response = text if outcome is Outcome.REVISED else current
        return Round(index, principle.id, critique, outcome, response, text)

    async def _ask(self, conversation: Conversation, part: str) -> Completion:
        seed = derive_seed(self._seed, part)
        return await self._engine.complete(CompletionRequest(conversation, sampling(self._config), seed))


def judge_revision(before: str, after: str, finish: str) -> Outcome:
    """What a revision came to, from its text alone. White space does not make a change."""
    if not after:
        return Outcome.EMPTY
    if finish == "length":
        return Outcome.CUT_OFF
    if after.split() == before.split():
        return Outcome.UNCHANGED
    if _REFUSED_TASK.search(after):
        return Outcome.REFUSED
    return Outcome.REVISED
