"""Before a run spends anything: is every server that it will need there, and can its model play its part?

Asked is one short question of each, and of a labeler that is to be read by log-probabilities whether it gives
them. A model of which this run has answers is believed: they may be all that is needed now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cai.config.run_config import ModelConfig
from cai.engines.backend import on_a_server, open_engine
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
        if on_a_server(part.model) and not journal.has_answers_of(part.model.name):
            try:
                await _try(part, purse)
            except BudgetError:
                raise
            except EngineError as error:
                raise EngineError(f"{part.role}: {error}") from error


async def _try(part: Part, purse: Purse | None) -> None:
    engine = await open_engine(part.model, purse)
    try:
        try:
            await engine.complete(HELLO)
        except ItemError as error:  # a server that declines this one declines them all
            question = HELLO.messages[0].content
            raise EngineError(f"{part.model.name} does not answer even '{question}' ({error})") from error
        if part.logprobs and isinstance(engine, _Listing):
            await engine.require_logprobs()
    finally:
        await engine.close()
