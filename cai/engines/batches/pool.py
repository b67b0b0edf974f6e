"""Collects what is asked of a model at the same time, sends it as batches, and hands out what comes of them.

Whoever asks waits as for any answer. What nobody has added to for some seconds is sent; so is what has grown
to a limit of the service. Every batch is in the journal before it is asked for (``run/pending.py``): a
request that an earlier command has sent is waited for and fetched, and never sent again.

A request that fails for itself has its fault as if it had been asked alone; one that may yet be answered (its
batch expired, the server was busy) goes into the next batch, ``ATTEMPTS`` times.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cai.engines.batches.service import Arrived, Failure, Row, Service, State
from cai.engines.server.client import JsonClient
from cai.engines.server.complaint import Response
from cai.engines.server.faults import Later, Missing, Refused, TooLong
from cai.run.pending import Batch, Pending
from cai.values.errors import EngineError, ItemError

_LOG = logging.getLogger("cai.engines.batches")
ATTEMPTS = 3  # batches that a request goes into
KEPT = 29 * 86_400.0  # seconds for which services keep results, the shortest (Anthropic's)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: without a new request until a batch is sent; until it is first asked after, and at most."""

    quiet: float = 3.0
    first: float = 10.0
    longest: float = 60.0


TIMING = Timing()


@dataclass(slots=True)
class _Waiting:
    """Somebody who waits for the answer to ``row``, which is in the batch ``tag``; "" in none yet."""

    row: Row
    future: asyncio.Future[Arrived]
    tag: str = ""


class Pool:
    """The batches of one model. Use within one event loop."""

    def __init__(self, client: JsonClient, service: Service, pending: Pending, timing: Timing | None = None):
        self._client = client
        self._service = service
        self._pending = pending
        self._timing = timing or TIMING
        self._most_rows = service.most_rows
        self._crowded = False  # the service takes one batch at a time
        self._waiting: dict[str, _Waiting] = {}
        self._open: dict[str, Row] = {}  # collected, and not sent yet
        self._bytes = 0  # of these
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}  # of every batch, by its tag
        self._sizes: dict[str, int] = {}  # of those under way at the service
        self._kept: dict[str, Arrived] = {}  # came with others, and may be asked for yet

    def owes(self, name: str) -> bool:
        """Whether the request is in a batch that was sent."""
        return self._pending.batch_of(name) is not None

    def booked(self, name: str) -> bool:
        return self._pending.booked(name)

    def forget(self, name: str) -> None:
        """The answer to ``name`` came to nothing: asked for again, it is sent again."""
        self._pending.forget(name)

    def book(self, name: str) -> None:
        """The answer to ``name`` is in the books."""
        self._pending.book(name)

    async def ask(self, name: str, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a chat payload, as ``JsonClient.post`` gives it, from a batch. ``name``: all of it.

        Raises:
            Refused, ItemError: this request's fault.
            EngineError: the service cannot be asked, or a batch was declined or cancelled.
        """
        place, sent = self._client.wire(path, payload)
        row = Row(name, place, self._service.line(name, place, sent))
        if len(row.line) > self._service.most_bytes:
            raise ItemError("the request is larger than a whole batch may be")
        what = ""
        for _ in range(ATTEMPTS):
            arrived = await self._arrival(row)
            try:
                return self._read(arrived, payload)
            except Later as later:
                self._pending.forget(name)
                what = later.what
            except BaseException:
                self._pending.forget(name)
                raise
        raise ItemError("the server failed on this request", f"{what}, in {ATTEMPTS} batches")

    async def close(self) -> None:
        """Wait for nothing more. What is under way goes on at the service, which is said."""
        left = [size for size in self._sizes.values() if size]
        tasks = list(self._tasks.values())
        if self._timer is not None:
            self._timer.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if left:
            batches = "a batch" if len(left) == 1 else f"{len(left)} batches"
            self._tell(
                f"{batches} of {sum(left):,} requests in all left under way. They are paid for: the same "
                "command fetches their answers, and sends none of them again"
            )

    def _read(self, arrived: Arrived, payload: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(arrived, Response):
            return self._client.arrived(arrived, payload)
        if isinstance(arrived, Later):  # a fresh one: it may be that of many
            raise Later(arrived.kind, arrived.what, alive=True)
        raise EngineError(str(arrived))

    async def _arrival(self, row: Row) -> Arrived:
        if row.name in self._kept:
            return self._kept.pop(row.name)
        if (other := self._waiting.get(row.name)) is not None:
            return await asyncio.shield(other.future)
        waiting = _Waiting(row, asyncio.get_running_loop().create_future())
        self._waiting[row.name] = waiting
        batch = self._pending.batch_of(row.name)
        if batch is None:
            self._collect(row)
        else:
            waiting.tag = batch.tag
            if batch.tag not in self._tasks:
                self._start(batch.tag, self._follow(batch))
        try:
            return await waiting.future
        finally:
            self._waiting.pop(row.name, None)
            if self._open.pop(row.name, None) is not None:
                self._bytes -= len(row.line)

    # --- Sending ----------------------------------------------------------------------------

    def _collect(self, row: Row) -> None:
        if self._bytes + len(row.line) > self._service.most_bytes:
            self._send()
        self._open[row.name] = row
        self._bytes += len(row.line)
        if len(self._open) >= self._most_rows:
            self._send()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._timing.quiet, self._send)

    def _send(self) -> None:
        """Make a batch of what is collected."""
        if self._timer is not None:
            self._timer.cancel()
        rows = list(self._open.values())
        self._open.clear()
        self._bytes = 0
        if not rows:
            return
        tag = secrets.token_hex(8)
        for row in rows:
            self._waiting[row.name].tag = tag
        self._start(tag, self._made(tag, rows))

    async def _made(self, tag: str, rows: list[Row]) -> None:
        await self._room(tag)
        try:
            file = await self._service.upload(rows)
            batch = Batch(tag, file, "", len(rows), time.time())
            known = self._pending.ids()
            self._pending.intend(batch, [row.name for row in rows])
            batch = replace(batch, id=await self._service.create(batch, rows, known))
        except TooLong as error:
            self._pending.drop(tag)
            if len(rows) == 1:
                raise EngineError(
                    f"{self._client.base_url} takes no batch of one request ({error})"
                ) from error
            self._most_rows = len(rows) // 2
            self._collect_again(tag)
            return
        except Missing as error:
            raise EngineError(
                f"{error} If the server makes no batches, batch: false asks for every answer by itself"
            ) from error
        if batch.id:
            self._pending.made(tag, batch.id)
            self._sizes[tag] = len(rows)
            self._tell(
                f"batch {batch.id} of {len(rows):,} requests is sent, at half the price; it may take up to "
                "24 hours. Ctrl-C leaves it running, and the same command fetches it"
            )
        await self._follow(batch, rows)

    async def _room(self, tag: str) -> None:
        """Wait until no other batch is under way, where the service has no room for two."""
        while self._crowded and (others := [self._tasks[one] for one in self._sizes if one in self._tasks]):
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        self._sizes.setdefault(tag, 0)

    # --- Waiting ----------------------------------------------------------------------------

    async def _follow(self, batch: Batch, rows: list[Row] | None = None) -> None:
        """Wait for a batch that was sent, by this command or an earlier one, and hand out its results."""
        known = batch if batch.id else await self._found(batch)
        if known is None:  # it was never made
            self._pending.drop(batch.tag)
            self._collect_again(batch.tag)
            return
        if rows is None:
            self._sizes[known.tag] = known.size
            self._tell(f"batch {known.id} of {known.size:,} requests was sent before; waiting for it")
        try:
            state = await self._ended(known.id)
            results = {} if state.failure else await self._service.results(known.id, state)
        except Missing as error:
            if time.time() - known.created < KEPT:
                raise _lost(known.id, error) from error
            self._tell(f"the results of batch {known.id} are no longer kept; what is asked for is sent anew")
            self._pending.drop(known.tag)
            self._collect_again(known.tag)
            return
        if state.failure is not None:
            self._pending.drop(known.tag)
            self._declined(known, state.failure, rows or [])
        else:
            self._hand_out(known, state, results)

    async def _found(self, batch: Batch) -> Batch | None:
        """The batch with its id, where a killed command or a lost answer left none; None: it isn't there."""
        names = self._pending.names(batch.tag)
        for id in await self._service.find(batch, self._pending.ids()):
            if not self._service.exact:
                results = await self._service.results(id, await self._ended(id))
                if not names & results.keys():
                    continue
            self._pending.made(batch.tag, id)
            return replace(batch, id=id)
        return None

    async def _ended(self, id: str) -> State:
        pause = self._timing.first
        while True:
            state = await self._service.state(id)
            if state.ended:
                return state
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self._timing.longest)

    def _hand_out(self, batch: Batch, state: State, results: dict[str, Arrived]) -> None:
        for name, arrived in results.items():
            waiting = self._waiting.get(name)
            if waiting is None:
                if not self._pending.booked(name):
                    self._kept[name] = arrived
            elif not waiting.future.done():
                waiting.future.set_result(arrived)
        assert state.missing is not None
        for waiting in self._of(batch.tag):
            waiting.future.set_result(state.missing)

    def _declined(self, batch: Batch, failure: Failure, rows: list[Row]) -> None:
        """A batch of which nothing was run: who is at fault, and what is sent again.

        Raises:
            EngineError: the whole of it is.
        """
        told = {rows[number].name: said for number, said in failure.lines.items() if 0 <= number < len(rows)}
        if failure.crowded:
            others = [one for one in self._sizes if one != batch.tag]
            if not others and len(rows) == 1:
                self._waiting[rows[0].name].future.set_result(_as_item(failure.response))
                return
            if not others:
                self._most_rows = max(1, min(self._most_rows, batch.size) // 2)
            self._crowded = True
        elif told or (failure.lines and not rows):
            for waiting in self._of(batch.tag):
                if waiting.row.name in told:
                    waiting.future.set_result(told[waiting.row.name])
        else:
            try:
                self._client.arrived(failure.response, {})
            except (Refused, Later) as error:
                raise EngineError(f"{self._client.base_url} declines the batch ({error})") from error
        self._collect_again(batch.tag)

    def _collect_again(self, tag: str) -> None:
        for waiting in self._of(tag):
            waiting.tag = ""
            self._collect(waiting.row)

    def _of(self, tag: str) -> list[_Waiting]:
        """Those who wait for the batch ``tag``."""
        return [one for one in self._waiting.values() if one.tag == tag and not one.future.done()]

    def _start(self, tag: str, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                for waiting in self._of(tag):
                    waiting.future.set_exception(error)
                    waiting.future.exception()  # seen: its task may have been cancelled
            finally:
                self._tasks.pop(tag, None)
                self._sizes.pop(tag, None)

        self._tasks[tag] = asyncio.get_running_loop().create_task(guarded())

    def _tell(self, what: str) -> None:
        _LOG.warning("%s: %s", self._client.base_url, what)


def _lost(id: str, error: Exception) -> EngineError:
    return EngineError(
        f"batch {id}, which this run has sent, is not to be had ({error}). Is the key that of the account "
        "which sent it? batch: false asks anew for what is in it, and pays for it."
    )


def _as_item(response: Response) -> Response:
    """The same complaint as one request's own fault."""
    return Response(
        413, {}, response.text, {"error": {"message": response.text, "code": "request_too_large"}}
    )
