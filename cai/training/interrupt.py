"""Ctrl-C, SIGTERM or SIGHUP during a training: finish the update, save a checkpoint, then stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cai.training.result import TrainingStopped

# A terminal's Ctrl-C; what Slurm, Kubernetes and systemd send; what a closed terminal sends.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _never() -> bool:
    return False


@contextmanager
def stop_requests(should_stop: Callable[[], bool] | None) -> Iterator[Callable[[], bool]]:
    """A function that says whether to stop: ``should_stop`` says so, or one of ``SIGNALS`` came.

    After Ctrl-C a ``TrainingStopped`` becomes the KeyboardInterrupt that it was, after the others a
    SystemExit of 128 + the signal. A second Ctrl-C is not held back; the others are, since launchers and
    shells send them more than once. A signal that is ignored (``nohup``) stays so. Signals can only be caught
    in the main thread; elsewhere ``should_stop`` alone counts.
    """
    asked = should_stop or _never
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    came: list[int] = []
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    caught = [number for number in SIGNALS if previous[number] not in (signal.SIG_IGN, None)]

    def on_signal(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if number == signal.SIGINT:
            signal.signal(number, previous[signal.SIGINT])

    for number in caught:
        signal.signal(number, on_signal)
    try:
        yield lambda: bool(came) or asked()
    except TrainingStopped as stopped:
        if came and came[0] == signal.SIGINT:
            raise KeyboardInterrupt(str(stopped)) from None
        if came:
            raise SystemExit(128 + came[0]) from stopped
        raise
    finally:
        for number in caught:
            signal.signal(number, previous[number])
