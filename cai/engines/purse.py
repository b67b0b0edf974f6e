"""What models on servers were asked and paid for, and where to stop (``budget`` in the settings).

Booked is what servers say that they used, of every answer, also of one that came to nothing, in the run's
journal: a run that goes on knows what was paid before. The limit is looked at before a request is sent,
with what those in flight cost if they cost what the others did; what is in flight is waited for and kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from cai.config.run_config import BudgetConfig, ModelConfig, PriceConfig
from cai.engines.prices import dollars, price_of
from cai.run.journal import Journal
from cai.run.spending import Spent, total
from cai.values.errors import BudgetError, UsageError


class Book(Protocol):
    """Books one answer: tokens of the prompt, and of the completion (thoughts included)."""

    def __call__(self, prompt: int, completion: int, found: int = 0, kept: int = 0, /) -> None:
        """``found``, ``kept``: of the prompt, read from a cache and written to one."""


class Purse:
    """The money and tokens of a run. ``before``: what its earlier rounds (other journals) spent."""

    def __init__(self, budget: BudgetConfig, journal: Journal, before: Spent | None = None):
        self._budget = budget
        self._journal = journal
        spent = total([*([before] if before else []), *journal.spent().values()])
        self._spent = spent
        self._here = Spent()  # by this process, of which the mean is taken
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def spent(self) -> Spent:
        return self._spent

    def account(self, config: ModelConfig, url: str) -> Account:
        """The account of one model.

        Raises:
            UsageError: there is a limit in dollars, and the model's price is not known.
        """
        price = price_of(config, url)
        if price is None and self._budget.usd is not None:
            raise UsageError(
                f"budget.usd is {self._budget.usd:g}, and no price is known of {config.name} at {url}. Name "
                "it beside the model (price: {input: 0.5, output: 1.5}, US dollars per million tokens; zeros "
                "for a server of your own), or limit budget.tokens instead"
            )
        return Account(self, booked_as(config.name, url), price, price_of(config, url, batch=True))

    async def _enter(self, owed: bool) -> None:
        while not owed and (reason := self._reached()) is not None:
            if not self._in_flight:
                raise BudgetError(reason)
            await self._idle.wait()
        self._in_flight += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    def _book(self, name: str, found: Spent) -> None:
        self._spent = total((self._spent, found))
        self._here = total((self._here, found))
        self._journal.book(name, found)

    def _reached(self) -> str | None:
        """Why one more request would go beyond a limit."""
        more = (self._in_flight + 1) / max(
            1, self._here.requests
        )  # × what this process has spent: an estimate
        for name, limit, spent, here, unit in (
            ("usd", self._budget.usd, self._spent.usd, self._here.usd, "US dollars"),
            ("tokens", self._budget.tokens, self._spent.tokens, self._here.tokens, "tokens"),
        ):
            if limit is not None and (spent >= limit or spent + more * here > limit):
                return (
                    f"budget.{name} is reached: {spent:,.{2 if name == 'usd' else 0}f} of {limit:,g} {unit} "
                    "are spent, and another request could go beyond. Every answer so far is kept: raise it "
                    f"(--set budget.{name}=…) and run the same command again to go on"
                )
        return None


def booked_as(name: str, url: str) -> str:
    """A model's line in what was spent: namesakes on two hosts are paid for apart."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    return f"{name} at {host}" if host else name


class Account:
    """One model's part of the purse. ``batch``: its price in a batch."""

    def __init__(self, purse: Purse, name: str, price: PriceConfig | None, batch: PriceConfig | None):
        self._purse = purse
        self._name = name
        self._price = price
        self._batch = batch

    @asynccontextmanager
    async def request(self, *, batch: bool = False, owed: bool = False) -> AsyncIterator[Book]:
        """Around one request; what it yields books the answer's tokens.

        ``batch``: it is one of a batch; ``owed``: which an earlier process has sent, so that it is paid for
        whatever the limit is.

        Raises:
            BudgetError: the limit is reached, and nothing is in flight any more.
        """
        await self._purse._enter(owed)
        try:
            yield partial(self._book, self._batch if batch else self._price)
        finally:
            self._purse._leave()

    def _book(
        self, price: PriceConfig | None, prompt: int, completion: int, found: int = 0, kept: int = 0, /
    ) -> None:
        self._purse._book(
            self._name,
            Spent(
                requests=1,
                prompt_tokens=prompt,
                completion_tokens=completion,
                usd=dollars(price, prompt, completion, found, kept) if price else 0.0,
                unpriced=0 if price else 1,
            ),
        )
