"""The two verbs that reach a model. Every backend is these and nothing else.

Stages call ``await engine.complete(request)`` for one item; an engine collects what is asked of it
at the same time and batches as it likes. No stage knows which backend it talks to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest

# Requests in flight at once where ``max_concurrency`` says nothing. A local engine batches all it is asked at
# the same time; a hosted service that is asked more answers 429.
IN_PROCESS, ON_A_SERVER, IN_BATCHES = 1024, 64, 50_000


class Engine(Protocol):
    """A loaded model that can be asked from coroutines of one event loop.

    Raises, from both verbs:
        ItemError: this request cannot be served (longer than the model's context, no such option).
        EngineError: the engine is broken; every later request will fail too.
    """

    @property
    def name(self) -> str:
        """What to call the model in provenance columns, e.g. ``pocket`` or ``org/model``."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of everything besides the request that shapes an answer.

        Weights, tokenizer and chat template, dtype, and the backend's name: the journal's keys
        contain it, so two engines with equal fingerprints may answer for one another.
        """
        ...

    async def complete(self, request: CompletionRequest) -> Completion: ...

    async def choose(self, request: ChoiceRequest) -> Choice: ...

    async def close(self) -> None:
        """Free the model's memory. Idempotent. No request may be in flight."""
        ...


Form = Literal["prefill", "choice", "options"]
"""What a server may do in one way or another: an answer begun for it, options after such a beginning, and an
answer that is to be one of several."""


@runtime_checkable
class Formed(Protocol):
    """An engine whose model is asked in the form that its server turned out to take.

    The form shapes the answer, so it is part of what a journal knows a question by.
    """

    async def forms(self, forms: Sequence[Form]) -> dict[Form, str]:
        """One word for how each is asked for: another word, another question."""
        ...
