"""An engine that answers from the journal first and opens the real one only when it must.

Stages see an ordinary engine. A finished run that is run again opens no model at all, because the
fingerprint is known from the model's files before anything is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from cai.engines.engine import IN_PROCESS, Engine, Form, Formed
from cai.engines.server.learned import unlisted
from cai.run.journal import Journal, digest, key
from cai.values.errors import ItemError, NoLogprobsError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest

_LOG = logging.getLogger("cai.engines")
ENDS = ("stop", "length")  # of a completion
COUNTS = ("prompt_tokens", "completion_tokens", "thought_tokens")  # of an answer
FORMS: tuple[Form, ...] = ("prefill", "choice", "options")
_KEPT = "form of a "  # beside what a server says of its model
_SHOWN = {"prefill": "beginning", "choice": "beginning before options", "options": "list of options"}


@dataclass
class Meter:
    """What was asked of models, and what the journal spared. Counts and tokens."""

    asked: int = 0
    recalled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thought_tokens: int = 0


@dataclass
class Used:
    """Tokens of completions that were made use of, the journal's among them, and those of thought in them."""

    written: int = 0
    thought: int = 0


class JournaledEngine:
    """``engine.Engine`` over a journal and a way to open the real engine.

    ``open`` is awaited once, at the first request that the journal cannot answer. ``former``: an earlier
    fingerprint of the same model, whose answers count as well. ``formed``: the model is on a server, which is
    asked in a form that it has shown to take; the form is kept, and part of what such questions are known by.
    ``used`` is added to, by other engines too.
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
        formed: bool = False,
        used: Used | None = None,
    ):
        self.name = name
        self.max_concurrency = max_concurrency
        self.fingerprint = fingerprint
        self.meter = Meter()
        self._former = former
        self._formed = formed
        self._used = used or Used()
        self._open = open
        self._journal = journal
        self._forms: dict[Form, str] | None = None  # as the journal has them; None: not looked up yet
        self._shown: set[Form] = set()  # of these: shown by the server itself since it was opened
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()
        # Equal requests asked at the same time share one answer: it is what the journal would give.
        self._pending: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def complete(self, request: CompletionRequest) -> Completion:
        async def ask(engine: Engine) -> dict[str, Any]:
            return asdict(await engine.complete(request))

        answer = Completion(**await self._answer(request, ask))
        self._used.written += answer.completion_tokens
        self._used.thought += answer.thought_tokens
        return answer

    async def choose(self, request: ChoiceRequest) -> Choice:
        async def ask(engine: Engine) -> dict[str, Any]:
            choice = await engine.choose(request)
            if not all(math.isfinite(logprob) for logprob in choice.logprobs):
                raise ItemError("an option has no probability", f"{request.options}: {choice.logprobs}")
            return asdict(choice)

        answer = await self._answer(request, ask)
        values, bounded = tuple(answer["logprobs"]), tuple(answer.get("bounded", ()))
        return Choice(values, answer.get("prompt_tokens", 0), bounded)

    def _require_listed(self) -> None:
        """Raise NoLogprobsError of a server that this run knows to give none, and that is not open anyway.

        So a run whose verdicts are all in the journal needs no server to find that out again.
        """
        if self._formed and self._engine is None:
            why = unlisted(self._journal, self.fingerprint)
            if why:
                raise NoLogprobsError(f"{self.name} gives no log-probabilities ({why})", why)

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    async def _answer(
        self,
        request: CompletionRequest | ChoiceRequest,
        ask: Callable[[Engine], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        forms = _forms_of(request) if self._formed else ()
        name = self._name(request, forms)
        found = None if name is None else self._known(name, request)
        if found is None and self._former is not None and not forms:
            found = self._known(key(self._former, request), request)
        if found is not None:
            self.meter.recalled += 1
            return found
        plain = key(self.fingerprint, request)
        if (pending := self._pending.get(plain)) is not None:
            return await asyncio.shield(pending)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[plain] = future
        try:
            answer, asked = await self._ask(request, forms, name, ask)
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
            del self._pending[plain]
        if not asked:
            self.meter.recalled += 1
            return answer
        self.meter.asked += 1
        self.meter.prompt_tokens += answer["prompt_tokens"]
        self.meter.completion_tokens += answer.get("completion_tokens", 0)
        self.meter.thought_tokens += answer.get("thought_tokens", 0)
        return answer

    async def _ask(
        self,
        request: CompletionRequest | ChoiceRequest,
        forms: tuple[Form, ...],
        name: str | None,
        ask: Callable[[Engine], Awaitable[dict[str, Any]]],
    ) -> tuple[dict[str, Any], bool]:
        """The model's answer, kept, and True; or the journal's to the form that shows, and False."""
        if isinstance(request, ChoiceRequest):
            self._require_listed()
        engine = await self._opened()
        if forms:
            await self._show(engine, forms)
            shown = self._name(request, forms)
            if shown is not None and shown != name and (found := self._known(shown, request)) is not None:
                return found, False
            name = shown
        answer = await ask(engine)
        self._journal.put(name or key(self.fingerprint, request), self.name, request, answer)
        return answer, True

    def _name(self, request: CompletionRequest | ChoiceRequest, forms: tuple[Form, ...]) -> str | None:
        """What the journal knows ``request`` by; None while nobody knows in which form it is asked."""
        if not forms:
            return key(self.fingerprint, request)
        if self._forms is None:
            said = self._journal.announced(self.fingerprint)
            self._forms = {form: said[_KEPT + form] for form in FORMS if _KEPT + form in said}
        if any(form not in self._forms for form in forms):
            return None
        return key(digest(self.fingerprint, {form: self._forms[form] for form in forms}), request)

    async def _show(self, engine: Engine, forms: tuple[Form, ...]) -> None:
        """Let the server show its forms, and keep them."""
        missing = [form for form in forms if form not in self._shown]
        if not missing:
            return
        found = await engine.forms(missing) if isinstance(engine, Formed) else {}
        before = self._forms or {}
        for form in missing:
            if form in before and found.get(form) not in (before[form], None):
                _LOG.warning(
                    "%s: the server takes a %s as %s, and took it as %s; what was asked so is asked again",
                    *(self.name, _SHOWN[form], found[form], before[form]),
                )
        self._forms = {**before, **{form: found.get(form, "") for form in missing}}
        self._shown |= set(missing)
        said = self._journal.announced(self.fingerprint)
        self._journal.announce(self.fingerprint, said | {_KEPT + f: v for f, v in self._forms.items()})

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


def _forms_of(request: CompletionRequest | ChoiceRequest) -> tuple[Form, ...]:
    """What of ``request`` a server may take in one form or another."""
    if isinstance(request, ChoiceRequest):
        return ("choice",) if request.prefill else ()
    asked: list[Form] = ["prefill"] if request.prefill else []
    return (*asked, "options") if request.options else tuple(asked)


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
