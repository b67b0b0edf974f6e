"""Progress of long steps: a bar in a terminal, a plain line now and then elsewhere, or silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TextIO


@dataclass
class Bar:
    """One step under way. ``total`` may be set later where it is not known at the start."""

    label: str
    total: int
    changed: Callable[[Bar], None]
    items: int = 0
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)

    def advance(self, items: int = 1, tokens: int = 0) -> None:
        self.items += items
        self.tokens += tokens
        self.changed(self)

    @property
    def speed(self) -> str:
        """Tokens per second since the start; nothing where none were counted."""
        seconds = time.monotonic() - self.started
        return f"{self.tokens / seconds:,.0f} tok/s" if self.tokens and seconds > 0 else ""

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        left = seconds * (self.total - self.items) / self.items if 0 < self.items < self.total else 0
        parts = [f"{self.label}: {self.items}/{self.total} in {seconds:.1f} s", self.speed]
        parts.append(f"{left:.0f} s left" if left else "")
        return ", ".join(part for part in parts if part)


class Progress(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        """What is damaged, lost or dropped: ``--quiet`` and ``--json`` do not silence it."""

    def bar(self, label: str, total: int) -> AbstractContextManager[Bar]: ...


class Silent:
    """Nothing at all."""

    def say(self, text: str) -> None:
        del text

    def warn(self, text: str) -> None:
        self.say(text)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        yield Bar(label, total, lambda bar: None)


class Quiet(Silent):
    """Losses alone (``--quiet``, ``--json``)."""

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Plain:
    """Plain lines: one every ``every`` seconds and one at the end of a step."""

    def __init__(self, stream: TextIO | None = None, every: float = 10.0):
        self._stream = stream or sys.stderr
        self._every = every

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def warn(self, text: str) -> None:
        self.say(text)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        due = time.monotonic() + self._every

        def changed(bar: Bar) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + self._every
                self.say(str(bar))

        bar = Bar(label, total, changed)
        yield bar
        if bar.total:  # there may have been nothing to do
            self.say(str(bar))


class Terminal:
    """rich's progress bar: items, tokens per second, time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        self.say(text)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with RichProgress(*columns, console=self._console) as bars:
            task = bars.add_task(label, total=total, speed="")
            yield Bar(
                label,
                total,
                lambda bar: bars.update(task, completed=bar.items, total=bar.total, speed=bar.speed),
            )


def for_stream(quiet: bool) -> Progress:
    """The kind of progress that fits standard error."""
    if quiet:
        return Quiet()
    return Terminal() if sys.stderr.isatty() else Plain()
