"""Before a run spends anything: is every server that it will need there, and can its model play its part?

Asked is one short question of each, and of a labeler that is to be read by log-probabilities whether it gives
them; what is learned of a server by that is kept. A model of which this run has answers, from where it is
now, is believed: they may be all that is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cai.config.run_config import ModelConfig
from cai.engines.backend import base_url, fingerprint, on_a_server, open_engine
from cai.engines.purse import Purse
from cai.run.journal import Journal
from cai.values.errors import BudgetError, EngineError, ItemError
from cai.values.types import CompletionRequest, Message, Sampling

HELLO = CompletionRequest((Message("user", "Say hello in one word."),), Sampling(max_tokens=8), seed=0)


@dataclass(frozen=True, slots=True)
class Part:
    """A model and what a run needs it for; ``logprobs``: whether it must give log-probabilities."""

    role: str
    model: ModelConfig
    logprobs: bool = False


@runtime_checkable
class _Listing(Protocol):
    async def require_logprobs(self) -> None: ...


async def rehearse(parts: Sequence[Part], journal: Journal, purse: Purse | None) -> None:
    """Ask every server among ``parts`` that this journal does not know.

    Raises:
        EngineError: it cannot be asked, or cannot play its part; the message begins with the role.
        BudgetError: the budget is spent already.
        UsageError: the budget is in dollars, and a price is not known.
    """
    for part in parts:
        if on_a_server(part.model) and not _believed(part.model, journal):
            try:
                await _try(part, journal, purse)
            except BudgetError:
                raise
            except EngineError as error:
                raise EngineError(f"{part.role}: {error}") from error


def _believed(model: ModelConfig, journal: Journal) -> bool:
    """Whether this run has answers of the model from where it is now; a namesake elsewhere is another."""
    from cai.engines.server.learned import answered_at, place

    if not journal.has_answers_of(model.name):
        return False
    last = answered_at(journal, fingerprint(model))
    return last in (None, place(base_url(model)))


async def _try(part: Part, journal: Journal, purse: Purse | None) -> None:
    from cai.engines.server.announced import remember
    from cai.engines.server.openai import OpenAIEngine

    engine = await open_engine(part.model, purse)
    try:
        if isinstance(engine, OpenAIEngine):
            await remember(engine, journal)
        try:
            await engine.complete(HELLO)
        except ItemError as error:  # a server that declines this one declines them all
            question = HELLO.messages[0].content
            raise EngineError(f"{part.model.name} does not answer even '{question}' ({error})") from error
        if part.logprobs and isinstance(engine, _Listing):
            await engine.require_logprobs()
    finally:
        await engine.close()
