"""Critique and revision (Bai et al. 2022, §3.1): N rounds, a principle drawn afresh for each.

What the critic reads in round n is the conversation, the response that stands after round n-1, a
critique request, its own critique, and a revision request. Few-shot examples stand before all of it.

Where a critique says that nothing needs to change, no revision is asked for; the paper asks in every round.
A critique that gives no verdict (``critique_verdict.py``) is no leave to skip it: the revision is asked for
as in the paper, after the critique where it has words and without it where it says nothing (their §3.5 finds
revisions without critiques nearly as good), and the round keeps why its critique is ``unread``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cai.config.run_config import ReviseConfig
from cai.constitution.load import Constitution, Principle, draw
from cai.constitution.templates import Templates
from cai.engines.engine import Engine
from cai.run.journal import derive_seed
from cai.stages.critique_verdict import Finding, read_critique
from cai.stages.degenerate import degenerate
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
    unread: str | None = None
    turns: Conversation = ()
    if critic.config.critique:
        critique = await criticise(answered, principle, critic, seed)
        verdict = read_critique(critique, critic.templates.no_problem)
        if verdict.finding is Finding.CLEAN:
            return Round(index, principle.id, critique, Outcome.NO_PROBLEM, current)
        if _REFUSED_TASK.search(critique):
            return Round(index, principle.id, critique, Outcome.REFUSED, current)
        unread = verdict.reason
        if not degenerate(critique):
            turns = (Message("user", critic.templates.critique(principle)), Message("assistant", critique))
    shots = critic.templates.critique_shots(critic.config.few_shot, critique=bool(turns))
    conversation = (*shots, *answered, *turns, Message("user", critic.templates.revision(principle)))
    completion = await _ask(conversation, critic, derive_seed(seed, "revision"))
    text = completion.text.strip()
    outcome = judge_revision(current, text, completion.finish)
    response = text if outcome is Outcome.REVISED else current
    return Round(index, principle.id, critique, outcome, response, text, unread)


async def criticise(answered: Conversation, principle: Principle, critic: Critic, seed: int) -> str:
    """The critique of the last response of ``answered`` under ``principle``."""
    shots = critic.templates.critique_shots(critic.config.few_shot, critique=True)
    request = Message("user", critic.templates.critique(principle))
    completion = await _ask((*shots, *answered, request), critic, derive_seed(seed, "critique"))
    return completion.text.strip()


async def _ask(conversation: Conversation, critic: Critic, seed: int) -> Completion:
    return await critic.engine.complete(CompletionRequest(conversation, sampling(critic.config), seed))


def judge_revision(before: str, after: str, finish: str) -> Outcome:
    """What a revision came to, from its text alone. White space does not make a change.

    One that says nothing (``degenerate.py``) is as good as none.
    """
    if degenerate(after):
        return Outcome.EMPTY
    if finish == "length":
        return Outcome.CUT_OFF
    if after.split() == before.split():
        return Outcome.UNCHANGED
    if _REFUSED_TASK.search(after):
        return Outcome.REFUSED
    return Outcome.REVISED
