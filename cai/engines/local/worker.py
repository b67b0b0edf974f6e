"""The thread in which a model lives: coroutines hand it jobs and await their results.

All of a model's work happens in this one thread, so the event loop stays free, and what a backend
does to its thread (core binding, thread counts) ends with it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, TypeVar

from cai.values.errors import CaiError, EngineError

Job = TypeVar("Job")

# Jobs that arrive within QUIET of each other belong to one batch; nobody waits longer than LINGER.
QUIET = 0.004
LINGER = 0.25


class Ticket(Generic[Job]):
    """A job and the future that its coroutine awaits."""

    __slots__ = ("_future", "_loop", "job")

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self.job = job
        self._loop = loop
        self._future: asyncio.Future[Any] = loop.create_future()

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more (the coroutine was cancelled)."""
        return self._future.done()

    def resolve(self, result: object) -> None:
        self._settle(lambda: self._future.set_result(result))

    def fail(self, error: Exception) -> None:
        self._settle(lambda: self._future.set_exception(error))

    def _settle(self, settle: Any) -> None:
        def unless_done() -> None:
            if not self._future.done():
                settle()

        with suppress(RuntimeError):  # the event loop is closed: nobody waits
            self._loop.call_soon_threadsafe(unless_done)

    async def result(self) -> Any:
        return await self._future


class Worker(ABC, Generic[Job]):
    """A thread that loads a model, serves tickets until it is closed, and unloads the model."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inbox: queue.SimpleQueue[Ticket[Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name=f"cai-{name}", daemon=True)
        self._waiting: list[Ticket[Job]] = []
        self._door = threading.Lock()  # guards the two below: after the last look nothing may be put in
        self._ended: EngineError | None = None
        self._closing = False

    @abstractmethod
    def load(self) -> None:
        """Load the model. Runs in the thread, as do the two below."""

    @abstractmethod
    def serve(self, waiting: list[Ticket[Job]]) -> None:
        """Do some work; take the tickets that need no more of it out of ``waiting``."""

    @abstractmethod
    def unload(self) -> None:
        """Free the model."""

    @property
    def busy(self) -> bool:
        """Whether there is work in hand besides what waits."""
        return False

    async def start(self) -> None:
        """Start the thread and wait for the model.

        Raises:
            EngineError: the model cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        opening: Ticket[None] = Ticket(None, loop)
        self._opening = opening
        self._thread.start()
        await opening.result()

    async def ask(self, job: Job) -> Any:
        """The result of one job.

        Raises:
            ItemError: this job cannot be done.
            EngineError: the engine is closed or broken.
        """
        ticket = Ticket(job, asyncio.get_running_loop())
        with self._door:
            if self._ended or self._closing:
                raise self._ended or self._closed()
            self._inbox.put(ticket)
        return await ticket.result()

    async def close(self) -> None:
        """End the thread and free the model. May be called again."""
        with self._door:
            if not self._closing:
                self._closing = True
                self._inbox.put(None)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def _main(self) -> None:
        try:
            self.load()
        except Exception as error:
            self._opening.fail(self._as_engine_error("could not be loaded", error))
            self._free()
            return
        self._opening.resolve(None)
        try:
            while self._collect():
                self.serve(self._waiting)
            self._end(self._closed())
        except Exception as error:
            self._end(self._as_engine_error("stopped answering", error))
        finally:
            self._free()

    def _collect(self) -> bool:
        """Move what has arrived to ``_waiting``, blocking while there is nothing. False when closing."""
        started = monotonic()
        while True:
            try:
                ticket = self._next()
            except queue.Empty:
                break
            if ticket is None:
                return False
            self._waiting.append(ticket)
            if monotonic() - started > LINGER and len(self._waiting) > 1:
                break
        self._waiting[:] = [ticket for ticket in self._waiting if not ticket.abandoned]
        return True

    def _next(self) -> Ticket[Job] | None:
        if self.busy:
            return self._inbox.get_nowait()
        return self._inbox.get(timeout=QUIET) if self._waiting else self._inbox.get()

    def _end(self, error: EngineError) -> None:
        """Fail whatever waits, and whatever will be asked from now on."""
        with self._door:
            self._ended = error
            while not self._inbox.empty():
                ticket = self._inbox.get()
                if ticket is not None:
                    self._waiting.append(ticket)
        for ticket in self._waiting:
            ticket.fail(error)
        self._waiting.clear()

    def _closed(self) -> EngineError:
        return EngineError(f"the engine of {self._name} is closed")

    def _free(self) -> None:
        try:
            self.unload()
        except Exception as error:
            self._ended = self._as_engine_error("could not be freed", error)

    def _as_engine_error(self, what: str, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return error
        if isinstance(error, CaiError):
            return EngineError(str(error))
        made = EngineError(f"the model {self._name} {what}: {type(error).__name__}: {error}")
        made.__cause__ = error
        return made
