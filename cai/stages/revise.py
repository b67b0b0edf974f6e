"""Critique and revision (Bai et al. 2022, §3.1): N rounds, a principle drawn afresh for each.

What the critic reads in round n is the conversation, the response that stands after round n-1, a
critique request, its own critique, and a revision request. Few-shot examples stand before all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cai.config.run_config import ReviseConfig
from cai.constitution.load import Constitution, Principle, draw
from cai.constitution.templates import Templates
from cai.engines.engine import Engine
from cai.run.journal import derive_seed
from cai.stages.generate import sampling
from cai.values.types import (
    Completion,
    CompletionRequest,
    Conversation,
    Message,
    Outcome,
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


@dataclass(frozen=True, slots=True)
class Critic:
    """What revising a response needs besides the response."""

    engine: Engine
    templates: Templates
    config: ReviseConfig


async def revise(response: Response, critic: Critic, constitution: Constitution, seed: int) -> Transcript:
    """Run every round on one response.

    ``seed`` names the run and the stage; prompt id and round are added here, both for the draw of the
    principle and for the sampling, so neither depends on the order in which items finish.
    """
    prompt = response.prompt
    current = response.text
    rounds: list[Round] = []
    for index in range(critic.config.rounds):
        principle = draw(constitution, seed, prompt.id, index)
        done = await revise_once(
            index, prompt.answered(current), principle, critic, derive_seed(seed, prompt.id, index)
        )
        rounds.append(done)
        current = done.response
    return Transcript(prompt, response.text, tuple(rounds))


async def revise_once(
    index: int, answered: Conversation, principle: Principle, critic: Critic, seed: int
) -> Round:
    """One round on a conversation that ends with the response to revise."""
    current = answered[-1].content
    critique: str | None = None
    shots = critic.templates.critique_shots(critic.config.few_shot, critique=critic.config.critique)
    conversation = (*shots, *answered)
    if critic.config.critique:
        critique = await criticise(answered, principle, critic, seed)
        if not finds_problem(critique, critic.templates):
            return Round(index, principle.id, critique, Outcome.NO_PROBLEM, current)
        if _REFUSED_TASK.search(critique):
            return Round(index, principle.id, critique, Outcome.REFUSED, current)
        request = Message("user", critic.templates.critique(principle))
        conversation = (*conversation, request, Message("assistant", critique))
    conversation = (*conversation, Message("user", critic.templates.revision(principle)))
    completion = await _ask(conversation, critic, derive_seed(seed, "revision"))
    text = completion.text.strip()
    outcome = judge_revision(current, text, completion.finish)
    response = text if outcome is Outcome.REVISED else current
    return Round(index, principle.id, critique, outcome, response, text)


async def criticise(answered: Conversation, principle: Principle, critic: Critic, seed: int) -> str:
    """The critique of the last response of ``answered`` under ``principle``."""
    shots = critic.templates.critique_shots(critic.config.few_shot, critique=True)
    request = Message("user", critic.templates.critique(principle))
    completion = await _ask((*shots, *answered, request), critic, derive_seed(seed, "critique"))
    return completion.text.strip()


def finds_problem(critique: str, templates: Templates) -> bool:
    """Whether a critique asks for a change: it does unless it says the agreed words.

    An empty critique says nothing, so it finds nothing.
    """
    return bool(critique) and templates.no_problem.rstrip(".").lower() not in critique.lower()


async def _ask(conversation: Conversation, critic: Critic, seed: int) -> Completion:
    return await critic.engine.complete(CompletionRequest(conversation, sampling(critic.config), seed))


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
