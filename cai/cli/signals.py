"""SIGTERM and SIGHUP as Ctrl-C: what Slurm, Kubernetes and a closed terminal send ends a command in order.

Whatever handles Ctrl-C at that moment (asyncio, a training, a server) handles them; the exit code differs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Received:
    """The signal that ended the command, if one of ``ENDING`` did."""

    number: int | None = None

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, 129 after SIGHUP, else Ctrl-C's 130."""
        return 128 + (self.number or signal.SIGINT)


@contextmanager
def as_ctrl_c() -> Iterator[Received]:
    """SIGTERM and SIGHUP do once what Ctrl-C does. One that is ignored (``nohup``) stays so.

    A second one does nothing: shells and launchers send them again, and a second Ctrl-C ends at once.
    """
    received = Received()
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def on_signal(number: int, frame: FrameType | None) -> None:
        _leave_closed(terminals)
        if received.number is not None:
            return
        received.number = number
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)

    previous = {number: signal.getsignal(number) for number in ENDING}
    caught = [number for number in ENDING if previous[number] not in (signal.SIG_IGN, None)]
    for number in caught:
        signal.signal(number, on_signal)
    try:
        with _ctrl_c_has_a_handler(), _ctrl_c_is_not_lost():
            yield received
    finally:
        for number in caught:
            signal.signal(number, previous[number])


def leave_at_once(code: int) -> None:
    """From here on Ctrl-C ends the process: all is written, and what is left is Python's and libraries' end.

    There an impatient user's second Ctrl-C would be raised in whatever is being taken down, and printed.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(code))


@contextmanager
def _ctrl_c_has_a_handler() -> Iterator[None]:
    """Python's own, also where a script's ``command &`` is started with Ctrl-C ignored.

    asyncio ends in order by replacing that handler alone. Ctrl-C itself stays without effect: it is blocked.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


AGAIN = 0.05
"""Seconds until a Ctrl-C that nobody could raise comes again: the destructor has ended by then."""


@contextmanager
def _ctrl_c_is_not_lost() -> Iterator[None]:
    """What Python prints and forgets, Ctrl-C in a destructor (a file that is being closed), comes again."""
    previous = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            previous(unraisable)
        elif not sys.is_finalizing():
            main = threading.main_thread().ident
            again = threading.Timer(AGAIN, signal.pthread_kill, (main, signal.SIGINT))
            again.daemon = True
            again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = previous


def _leave_closed(terminals: list[int]) -> None:
    """What is written to a terminal that has gone would raise, and keep a checkpoint from being saved."""
    for number in terminals:
        if not os.isatty(number):
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
