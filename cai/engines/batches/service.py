"""What a service of batches is asked to do, whoever's it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cai.engines.server.client import Call, JsonClient
from cai.engines.server.complaint import Response
from cai.engines.server.faults import Later, Refused, TooLong
from cai.run.pending import Batch
from cai.values.errors import EngineError, ItemError

Arrived = Response | Later | EngineError
"""What came of one request: as if the server had answered it alone; or nothing, and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a batch: its name, where it would be posted alone, and its line, in bytes of JSON."""

    name: str
    path: str
    line: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a batch was declined as a whole: nothing in it was run.

    ``crowded``: there is no room for so much at a time. ``lines``: complaints by the row's number, from 0.
    """

    response: Response
    crowded: bool = False
    lines: Mapping[int, Response] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """``missing``: what to make of a request that has no result. ``files``: where results lie."""

    ended: bool
    missing: Later | EngineError | None = None
    files: tuple[str, ...] = ()
    failure: Failure | None = None


class Service(Protocol):
    """A service of batches. ``exact``: ``find`` tells our batch from others of the same size.

    Raises, from every method:
        EngineError: it cannot be asked, or declines.
        TooLong: a batch is larger than it takes.
    """

    most_rows: int
    most_bytes: int
    exact: bool

    def line(self, name: str, path: str, body: Mapping[str, Any]) -> bytes: ...

    async def upload(self, rows: Sequence[Row]) -> str:
        """Hand over what a batch is made of → its name there; "" where it goes along with ``create``."""
        ...

    async def create(self, batch: Batch, rows: Sequence[Row], known: set[str]) -> str:
        """Ask for the batch → its id; "" where the service may have it already, as ``find`` will tell."""
        ...

    async def find(self, batch: Batch, known: set[str]) -> list[str]:
        """Ids of what may be ``batch``, of which nobody knows whether it was made. ``known``: others' ids."""
        ...

    async def state(self, id: str) -> State: ...

    async def results(self, id: str, state: State) -> dict[str, Arrived]:
        """By name, what came of every request that has a result."""
        ...


EXPIRED = Later("request", "the batch expired before it was this request's turn", alive=True)
UNANSWERED = Later("request", "the batch ended without a word on this request", alive=True)


def cancelled(id: str) -> EngineError:
    return EngineError(
        f"batch {id} was cancelled at the service. What it had answered is kept; run the same command again "
        "to ask for the rest anew, or set batch: false"
    )


async def asked(
    client: JsonClient, call: Call, what: str, instead: Callable[[], Awaitable[Any]] | None = None
) -> Any:
    """The answer to ``call``; ``what`` it was for goes into the message where there is none.

    Raises:
        EngineError: the service declines, or fails again and again.
        TooLong: the request is larger than it takes.
    """
    try:
        return await client.call(call, instead)
    except TooLong:
        raise
    except (Refused, ItemError) as error:
        raise EngineError(
            f"{client.base_url} does not {what} ({error}). batch: false asks for every answer by itself, at "
            "the full price."
        ) from error
