"""Asks a server in the dialect that it turns out to take, which the first request of a kind learns for all.

What changes an answer (no temperature, no seed) is told once, as a warning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from cai.config.run_config import ModelConfig
from cai.engines.batches.pool import Pool
from cai.engines.purse import Account
from cai.engines.server.client import JsonClient, Refused
from cai.engines.server.parameters import Dialect, Payload, changes, learned, refusal_of
from cai.engines.server.reply import tokens_used
from cai.values.errors import EngineError, ItemError, NoLogprobsError

# Warnings reach standard error where nobody has set up logging, also through a progress bar.
_LOG = logging.getLogger("cai.engines.server")
CHAT = "/chat/completions"
_BATCHED = "(batch)"  # beside the fields of a kind of requests


class Speaker:
    """A server's /chat/completions for one model."""

    def __init__(self, config: ModelConfig, client: JsonClient, account: Account | None = None) -> None:
        self.name = config.name
        self.dialect = Dialect()
        self.batches: Pool | None = None  # where requests go that need no answer at once
        self.on_lesson: Callable[[], None] = lambda: None
        self._answered = False
        self._extra = config.extra_body
        self._client = client
        self._account = account
        # Kinds of requests that the server has taken: of each, one goes first, and the others after it.
        self._taken: set[frozenset[str]] = set()
        self._first = asyncio.Lock()

    async def ask(self, payload: Payload, name: str = "") -> Payload:
        """Post; the first request of a kind alone, so that a crowd does not learn the same thing at once.

        ``name``: of a request that may go into a batch. Where there are batches it does, but for the first of
        a kind, which is answered at once: others learn from it, and may wait for what it tells.
        """
        name = name if self.batches is not None else ""
        kind = frozenset({*payload, _BATCHED} if name else payload)
        if kind in self._taken or self._sent_before(name):
            return await self._speak(payload, name)
        async with self._first:
            if kind not in self._taken:
                try:
                    return await self._speak(payload)
                finally:
                    self._taken.add(kind)
        return await self._speak(payload, name)

    def forget(self, name: str) -> None:
        """The answer to ``name`` came to nothing: it is not to be fetched again."""
        if self.batches is not None:
            self.batches.forget(name)

    def _sent_before(self, name: str) -> bool:
        return self.batches is not None and bool(name) and self.batches.owes(name)

    async def _speak(self, payload: Payload, name: str = "") -> Payload:
        """Post, in the dialect that the server turns out to speak.

        Raises:
            ItemError: the server refuses the request in every dialect.
            NoLogprobsError: it has been asked for log-probabilities, and gives none.
            EngineError: it refuses a field that the configuration adds.
        """
        while True:
            dialect = self.dialect
            if "top_logprobs" in payload and not dialect.top:
                raise self.no_logprobs(dialect.why)
            sent = {"model": self.name, **_merged(dialect.spoken(payload), self._extra)}
            try:
                answer = await self._paid(sent, name)
            except Refused as refusal:
                if self.dialect != dialect:
                    continue  # another request has learned meanwhile
                after = self._lesson(refusal, sent)
                for meaning in changes(dialect, after, payload):
                    self.tell(meaning)
                self.dialect = after
                self.on_lesson()
            else:
                if not self._answered:
                    self._answered = True
                    self.on_lesson()
                return answer

    async def _paid(self, sent: Payload, name: str) -> Payload:
        """Post once the budget allows it, and book what the server says that it used."""
        if self._account is None:
            return await self._posted(sent, name)
        async with self._account.request(batch=bool(name), owed=self._sent_before(name)) as book:
            answer = await self._posted(sent, name)
            if self.batches is None or not name:
                book(*tokens_used(answer, sent))
            elif not self.batches.booked(name):
                book(*tokens_used(answer, sent))
                self.batches.book(name)
            return answer

    async def _posted(self, sent: Payload, name: str) -> Payload:
        if self.batches is None or not name:
            return await self._client.post(CHAT, sent)
        return await self.batches.ask(name, CHAT, sent)

    def _lesson(self, refused: Refused, sent: Payload) -> Dialect:
        """The dialect after a refusal; raises where it is no matter of the dialect."""
        message = str(refused)
        if type(refused) is not Refused:  # the item's own fault, as the client has found
            raise ItemError("the server refuses this request", message) from refused
        refusal = refusal_of(message, getattr(refused, "body", None) or message)
        if own := [name for name in refusal.names(sent) if name in self._extra]:
            raise EngineError(
                f"{self.name} at {self._client.base_url} refuses {', '.join(own)}, which extra_body adds to "
                f"every request ({message}). Take it out of extra_body."
            ) from refused
        after = learned(self.dialect, sent, refusal)
        if after is None or after == self.dialect:
            raise ItemError("the server refuses this request", message) from refused
        return after

    def tell(self, what: str) -> None:
        _LOG.warning("%s at %s %s", self.name, self._client.base_url, what)

    def no_logprobs(self, why: str) -> NoLogprobsError:
        return NoLogprobsError(
            f"{self.name} at {self._client.base_url} gives no log-probabilities ({why}), and labels are "
            "read from them. Use a labeler that does: a model in vLLM or transformers here "
            "(--set labeler.name=… --set labeler.engine=auto), or a server with top_logprobs; or read labels "
            "from sampled verdicts (--set label.read=samples).",
            why,
        )


def _merged(payload: Payload, extra: Payload) -> Payload:
    """``payload`` with the configuration's further fields, which win; mappings in both are joined."""
    both = {
        name: {**payload[name], **value}
        for name, value in extra.items()
        if isinstance(value, dict) and isinstance(payload.get(name), dict)
    }
    return {**payload, **extra, **both}
