"""Many coroutines under a bound, in order, with failures as data.

``run_items`` is where concurrency happens; stages are written for one item, and ask ``together`` what hangs
on no other answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cai.values.errors import ItemError
from cai.values.types import Failure

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Results(Generic[R]):
    """What came of a stage: ``done`` in the order of the items, and the quarantined rest."""

    done: list[R]
    failures: list[Failure]


async def run_items(
    stage: str,
    items: Iterable[tuple[str, T]],
    work: Callable[[T], Awaitable[R]],
    *,
    bound: int = 1024,
    on_done: Callable[[], None] = lambda: None,
) -> Results[R]:
    """Await ``work(item)`` for every ``(id, item)``, at most ``bound`` at once.

    An ``ItemError`` quarantines its item; any other exception cancels the rest and is raised.
    Items are pulled one by one, so a long input is never held as tasks all at once.
    """
    done: dict[int, R] = {}
    failures: dict[int, Failure] = {}
    queue = enumerate(items)

    async def worker() -> None:
        for position, (name, item) in queue:
            try:
                done[position] = await work(item)
            except ItemError as error:
                failures[position] = Failure(stage, name, error.reason, error.detail)
            on_done()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(bound):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        # One cause stops a stage; its siblings were cancelled because of it.
        raise errors.exceptions[0] from None
    return Results([done[i] for i in sorted(done)], [failures[i] for i in sorted(failures)])


async def together(work: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """Await all of one item's ``work`` at once → results in its order.

    The first failure cancels the rest and is raised as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
