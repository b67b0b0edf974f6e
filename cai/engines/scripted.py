"""An engine whose answers are written down beforehand: for tests, and for trying a pipeline out.

    engine = ScriptedEngine(["first answer", "second answer"], choices=[(-0.1, -2.3)])
    engine = ScriptedEngine(lambda request: "Yes." if "?" in request.messages[-1].content else "No.")

Every request is kept in ``calls``, in the order of asking. An answer that is an exception is raised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cai.values.errors import EngineError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest

CompletionAnswer = str | Completion | Exception
ChoiceAnswer = Iterable[float] | Choice | Exception
Completions = Callable[[CompletionRequest], CompletionAnswer] | Iterable[CompletionAnswer]
Choices = Callable[[ChoiceRequest], ChoiceAnswer] | Iterable[ChoiceAnswer]

T = TypeVar("T")


@dataclass
class ScriptedEngine:
    """``engine.Engine`` from a function or a list, for each of the two verbs.

    ``answers`` gives completions (a text means one that stopped by itself), ``choices`` gives
    log-probabilities. A list is used up in the order of asking; one that is exhausted is an
    EngineError.
    """

    answers: Completions = ()
    choices: Choices = ()
    name: str = "scripted"
    fingerprint: str = ""
    calls: list[CompletionRequest | ChoiceRequest] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self._answers = _source(self.answers, "answers")
        self._choices = _source(self.choices, "choices")
        self.fingerprint = self.fingerprint or hashlib.sha256(self.name.encode()).hexdigest()

    async def complete(self, request: CompletionRequest) -> Completion:
        self.calls.append(request)
        answer = _raise_or_return(self._answers(request))
        if isinstance(answer, Completion):
            return answer
        return Completion(answer, "stop", completion_tokens=len(answer.split()))

    async def choose(self, request: ChoiceRequest) -> Choice:
        self.calls.append(request)
        answer = _raise_or_return(self._choices(request))
        choice = answer if isinstance(answer, Choice) else Choice(tuple(answer))
        if len(choice.logprobs) != len(request.options):
            raise EngineError(f"the script gives {len(choice.logprobs)} values for {request.options!r}")
        return choice

    async def close(self) -> None:
        self.closed = True


def _source(script: Any, what: str) -> Callable[[Any], Any]:
    """``script`` as a function of the request."""
    if callable(script):
        return script  # type: ignore[no-any-return]
    rest: Iterator[Any] = iter(script)

    def following(request: object) -> Any:
        for answer in rest:
            return answer
        raise EngineError(f"the script has no more {what}; asked for {request!r}")

    return following


def _raise_or_return(answer: T | Exception) -> T:
    if isinstance(answer, Exception):
        raise answer
    return answer
