"""An engine that answers from the journal first and opens the real one only when it must.

Stages see an ordinary engine. A finished run that is run again opens no model at all, because the
fingerprint is known from the model's files before anything is loaded.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from cai.engines.engine import IN_PROCESS, Engine
from cai.run.journal import Journal, key
from cai.values.errors import ItemError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest

ENDS = ("stop", "length")  # of a completion
COUNTS = ("prompt_tokens", "completion_tokens", "thought_tokens")  # of an answer


@dataclass
class Meter:
    """What was asked of models, and what the journal spared. Counts and tokens."""

    asked: int = 0
    recalled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thought_tokens: int = 0


class JournaledEngine:
    """``engine.Engine`` over a journal and a way to open the real engine.

    ``open`` is awaited once, at the first request that the journal cannot answer. ``former``: an earlier
    fingerprint of the same model, whose answers count as well.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        open: Callable[[], Awaitable[Engine]],
        journal: Journal,
        max_concurrency: int = IN_PROCESS,
        *,
        former: str | None = None,
    ):
        self.name = name
        self.max_concurrency = max_concurrency
        self.fingerprint = fingerprint
        self.meter = Meter()
        self._former = former
        self._open = open
        self._journal = journal
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()
        # Equal requests asked at the same time share one answer: it is what the journal would give.
        self._pending: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def complete(self, request: CompletionRequest) -> Completion:
        async def ask(engine: Engine) -> dict[str, Any]:
            return asdict(await engine.complete(request))

        return Completion(**await self._answer(request, ask))

    async def choose(self, request: ChoiceRequest) -> Choice:
        async def ask(engine: Engine) -> dict[str, Any]:
            choice = await engine.choose(request)
            if not all(math.isfinite(logprob) for logprob in choice.logprobs):
                raise ItemError("an option has no probability", f"{request.options}: {choice.logprobs}")
            return asdict(choice)

        answer = await self._answer(request, ask)
        values, bounded = tuple(answer["logprobs"]), tuple(answer.get("bounded", ()))
        return Choice(values, answer.get("prompt_tokens", 0), bounded)

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    async def _answer(
        self,
        request: CompletionRequest | ChoiceRequest,
        ask: Callable[[Engine], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        name = key(self.fingerprint, request)
        found = self._known(name, request)
        if found is None and self._former is not None:
            found = self._known(key(self._former, request), request)
        if found is not None:
            self.meter.recalled += 1
            return found
        if (pending := self._pending.get(name)) is not None:
            return await asyncio.shield(pending)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[name] = future
        try:
            answer = await ask(await self._opened())
            self._journal.put(name, self.name, request, answer)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # mark as seen: nobody may be waiting
            raise
        else:
            future.set_result(answer)
        finally:
            del self._pending[name]
        self.meter.asked += 1
        self.meter.prompt_tokens += answer["prompt_tokens"]
        self.meter.completion_tokens += answer.get("completion_tokens", 0)
        self.meter.thought_tokens += answer.get("thought_tokens", 0)
        return answer

    def _known(self, name: str, request: CompletionRequest | ChoiceRequest) -> dict[str, Any] | None:
        """The journal's answer; None where it has none, or one of another shape than this request's."""
        found = self._journal.get(name)
        if found is not None and not _answers(request, found):
            self._journal.reject(name)
            return None
        return found

    async def _opened(self) -> Engine:
        async with self._opening:
            if self._engine is None:
                self._engine = await self._open()
        return self._engine


def _answers(request: CompletionRequest | ChoiceRequest, found: dict[str, Any]) -> bool:
    """Whether ``found`` is an answer to ``request``, and not a row that was written otherwise, or damaged."""
    counts = [found[name] for name in COUNTS if name in found]
    if not all(isinstance(count, int) for count in counts):
        return False
    if isinstance(request, CompletionRequest):
        known = {"text", "finish", *COUNTS}
        return isinstance(found.get("text"), str) and found.get("finish") in ENDS and found.keys() <= known
    values, bounded = found.get("logprobs"), found.get("bounded", [])
    return (
        isinstance(values, list)
        and isinstance(bounded, list)
        and all(isinstance(one, bool) for one in bounded)
        and len(bounded) in (0, len(request.options))
        and len(values) == len(request.options)
        and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    )
