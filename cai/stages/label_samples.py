"""P(the first option) from verdicts that a model was made to say, where it gives no log-probabilities.

``label.samples`` verdicts are drawn, each a request with a seed of its own: so each is kept in the journal
as it comes, a killed run pays for none twice, and a larger number asks only for the difference. The
posterior of P(first) is Beta(1/2 + first, 1/2 + second), Jeffreys' prior; a tie is half a verdict for
either side. A reply without a verdict is counted and votes for nobody. Where fewer than ``label.min_mass``
of the replies have one, the question is unscored: the model mostly had something else to say, which is what
the floor is about.

``label.stop_early``: an order of showing stops after ``EARLIEST`` verdicts or more as soon as its 95 %
interval lies on one side of 1/2. It saves verdicts, and its intervals cover less (docs/labels.md has the
figures).
"""

from __future__ import annotations

import asyncio
from collections import Counter

from cai.config.run_config import LabelConfig
from cai.engines.engine import Engine
from cai.run.journal import derive_seed
from cai.stages.label_question import Question
from cai.stages.label_verdict import Verdict, read_verdict
from cai.statistics.uncertain import Uncertain, of_counts
from cai.values.errors import ItemError
from cai.values.types import CompletionRequest, Reading, Sampling, Votes
from cai.values.words import excerpt

TIE = "Tie"
EARLIEST = 3  # verdicts
Drawn = tuple[Verdict | None, str]  # and what was said where there is none


async def read_samples(question: Question, engine: Engine, config: LabelConfig, seed: int) -> Reading:
    """Draw the verdicts, all at once or, to stop early, one after another.

    Raises:
        EngineError: the engine is broken.
    """
    if config.stop_early:
        drawn: list[Drawn] = []
        while len(drawn) < config.samples and not decided(votes_of(drawn)):
            drawn.append(await _draw(question, engine, config, seed, len(drawn)))
    else:
        numbers = range(config.samples)
        drawn = await asyncio.gather(*(_draw(question, engine, config, seed, n) for n in numbers))
    return reading_of_votes(
        votes_of(drawn), config.min_mass, [said for verdict, said in drawn if not verdict]
    )


def votes_of(drawn: list[Drawn]) -> Votes:
    count = Counter(verdict for verdict, _ in drawn)
    return Votes(count[Verdict.FIRST], count[Verdict.SECOND], count[Verdict.TIE], count[None])


def posterior(votes: Votes) -> Uncertain:
    """What is known of P(first) after ``votes``."""
    return of_counts(votes.first + votes.ties / 2, votes.second + votes.ties / 2)


def decided(votes: Votes) -> bool:
    """Whether an order of showing needs no further verdict."""
    if votes.usable < EARLIEST:
        return False
    low, high = posterior(votes).interval
    return low > 0.5 or high < 0.5


def reading_of_votes(votes: Votes, min_mass: float, unread: list[str]) -> Reading:
    """``unread``: the replies without a verdict, of which the first is shown where there is no label."""
    replies = votes.usable + votes.abstained
    mass = votes.usable / replies
    if votes.usable == 0 or mass < min_mass:
        few = f"only {votes.usable} of {replies}" if votes.usable else f"none of {replies}"
        reason = f"{few} sampled replies named an option; the first of the others: {excerpt(unread[0], 80)!r}"
        return Reading(None, mass, votes=votes, unscored=reason)
    return Reading(posterior(votes).p, mass, votes=votes)


async def _draw(question: Question, engine: Engine, config: LabelConfig, seed: int, number: int) -> Drawn:
    """One verdict; a request that cannot be served abstains, with its reason."""
    options = (*question.options, TIE) if question.ties else question.options
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    prefill = question.prefill
    try:
        if question.opening is not None:
            key = derive_seed(seed, *question.name, "thought", number)
            request = CompletionRequest(question.conversation, Sampling(max_tokens=config.max_tokens), key)
            prefill = question.opening((await engine.complete(request)).text.strip())
        key = derive_seed(seed, *question.name, "verdict", number)
        request = CompletionRequest(question.conversation, sampling, key, prefill, options)
        reply = await engine.complete(request)
    except ItemError as error:
        return None, str(error)
    return read_verdict(reply.text, question, prefill, reply.finish == "length"), reply.text
