"""Ctrl-C during a training: finish the update, save a checkpoint, then stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cai.training.result import TrainingStopped


def _never() -> bool:
    return False


@contextmanager
def stop_requests(should_stop: Callable[[], bool] | None) -> Iterator[Callable[[], bool]]:
    """A function that says whether to stop: ``should_stop`` says so, or Ctrl-C was pressed.

    After Ctrl-C a ``TrainingStopped`` becomes the KeyboardInterrupt that it was. A second Ctrl-C is not
    held back. Signals can only be caught in the main thread; elsewhere ``should_stop`` alone counts.
    """
    asked = should_stop or _never
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    pressed = threading.Event()
    previous = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: pressed.is_set() or asked()
    except TrainingStopped as stopped:
        if pressed.is_set():
            raise KeyboardInterrupt(str(stopped)) from None
        raise
    finally:
        signal.signal(signal.SIGINT, previous)
