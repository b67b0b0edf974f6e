"""How fast one server is asked: a bound that adapts, limits per minute, and one back-off for all requests.

Every request takes a turn before it is sent and says afterwards what came of it. When one is told to wait,
all wait. The bound is halved once for each wave of refusals and grows by one for each wave of answers
(additive increase, multiplicative decrease: Chiu and Jain 1989), never above what the user set. While a
server is away one request goes ahead of the others. Times are seconds of ``time.monotonic``.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on asking. Seconds, but for ``minutes``; a pause doubles each time, with jitter.

    ``minutes``: since the last answer of a server that has answered before. A server that never has gets
    ``attempts``; so does every one where ``minutes`` is 0.
    """

    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 60.0
    timeout: float = 600.0
    connect_timeout: float = 10.0
    minutes: float = 0.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after failure number ``failures`` (from 0) where the server names none."""
        doubled = self.first_pause * 2.0 ** min(failures, 30)
        return min(doubled * random.uniform(0.5, 1.5), self.longest_pause)


class Turn(NamedTuple):
    """Leave to send one request. ``wave``: how many back-offs there were before it."""

    at: float
    wave: int


class Allowance:
    """So much per minute, in a bucket that fills evenly: what is not used is not saved up.

    What is larger than the bucket goes when it is full, and is paid off afterwards.
    """

    def __init__(self, per_minute: float | None, burst: float):
        self._burst = max(burst, 1.0)
        # A full bucket and a minute's filling together are the limit.
        self._rate = None if per_minute is None else max(per_minute - self._burst + 1, per_minute / 2) / 60
        self._level = self._burst
        self._at: float | None = None

    def wait(self, now: float, cost: float) -> float:
        """Seconds until ``cost`` may be spent."""
        if self._rate is None:
            return 0.0
        if self._at is not None:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        short = min(cost, self._burst) - self._level
        return short / self._rate if short > 1e-9 else 0.0

    def spend(self, cost: float) -> None:
        """Take ``cost``, or give back what is negative."""
        self._level = min(self._burst, self._level - cost)


class Pace:
    """Turns at one server, for one event loop."""

    def __init__(
        self,
        most: int,
        patience: Patience,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Clock = time.monotonic,
    ):
        self.most = most
        self.limit = float(most)
        self.in_flight = 0
        self.counts_tokens = tokens_per_minute is not None
        self.answered_at: float | None = None  # the last answer
        self.answers = 0
        self.alive = False  # whether anything but silence and gateways' errors ever came
        self.trouble_at: float | None = None  # the first failure since the last answer
        self._patience = patience
        self._clock = clock
        self._requests = Allowance(requests_per_minute, (requests_per_minute or 0) / 600)
        self._tokens = Allowance(tokens_per_minute, (tokens_per_minute or 0) / 60)
        self._queue: deque[tuple[asyncio.Future[Turn], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._open_at = 0.0
        self._wave = 0
        self.back_offs = 0  # since the last answer
        self._away = False
        self._ahead = 0  # turns under way that were taken since the last back-off

    def now(self) -> float:
        return self._clock()

    async def turn(self, tokens: float = 0.0) -> Turn:
        """Wait for a turn. Every turn ends with ``done``; what came of it is said before."""
        if self._queue or self._delay(tokens) != 0.0:
            future: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
            self._queue.append((future, tokens))
            if len(self._queue) == 1:
                self._pump()
            try:
                return await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.done(future.result())
                raise
        return self._take(tokens)

    def done(self, turn: Turn, correction: float = 0.0) -> None:
        """The request has ended. ``correction``: tokens that it took beyond those estimated."""
        self.in_flight -= 1
        if turn.wave == self._wave:
            self._ahead -= 1
        if correction:
            self._tokens.spend(correction)
        if self._queue:
            self._pump()

    def spoken(self) -> None:
        """The server is there: it said something sensible, though perhaps a refusal."""
        self.alive = True
        self.trouble_at = None
        self._away = False

    def answered(self, turn: Turn) -> None:
        """A request was answered well."""
        self.spoken()
        self.answered_at = self._clock()
        self.answers += 1
        if turn.wave == self._wave:
            self.back_offs = 0
            if self.limit < self.most:
                self.limit = min(self.most, self.limit + 1 / self.limit)

    def failed(self, alive: bool) -> None:
        """A request has failed; ``alive``: a server spoke."""
        self.alive = self.alive or alive
        if self.trouble_at is None:
            self.trouble_at = self._clock()

    def back_off(self, turn: Turn, wait: float | None, *, slower: bool) -> float:
        """All wait: ``wait`` seconds, or longer each time. ``slower``: and half as many go at once.

        A request that was sent before the last back-off belongs to the same wave. Returns the seconds that
        are left to wait.
        """
        now = self._clock()
        if turn.wave == self._wave:
            self._wave, self._ahead = self._wave + 1, 0
            pause = self._patience.pause(self.back_offs)
            self.back_offs += 1
            self._away = not slower
            if slower:
                self.limit = max(1.0, self.limit / 2)
            self._open_at = max(self._open_at, now + (wait or pause))
        elif wait:
            self._open_at = max(self._open_at, now + wait)
        return self._open_at - now

    def close(self) -> None:
        """Nobody will ask any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _delay(self, tokens: float) -> float | None:
        """Seconds until a request may go; None: not before another one has ended."""
        if self.in_flight >= int(self.limit) or (self._away and self._ahead > 0):
            return None
        now = self._clock()
        return max(0.0, self._open_at - now, self._requests.wait(now, 1.0), self._tokens.wait(now, tokens))

    def _take(self, tokens: float) -> Turn:
        self.in_flight += 1
        self._ahead += 1
        self._requests.spend(1.0)
        self._tokens.spend(tokens)
        return Turn(self._clock(), self._wave)

    def _pump(self) -> None:
        """Give turns, in the order of asking, to as many as may go now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            future, tokens = self._queue[0]
            if future.done():  # its task was cancelled
                self._queue.popleft()
                continue
            delay = self._delay(tokens)
            if delay is None:
                return
            if delay > 0.0:
                self._timer = asyncio.get_running_loop().call_later(delay, self._pump)
                return
            self._queue.popleft()
            future.set_result(self._take(tokens))
