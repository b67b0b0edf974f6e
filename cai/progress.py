"""Progress of long steps: a bar in a terminal, a plain line now and then elsewhere, or silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Bar(Protocol):
    """One step under way."""

    def advance(self, items: int = 1, tokens: int = 0) -> None: ...

    def total(self, items: int) -> None:
        """Say how many items there are where that was not known at the start."""
        ...


class Progress(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None: ...

    def bar(self, label: str, total: int) -> _BarContext: ...


class _BarContext(Protocol):
    def __enter__(self) -> Bar: ...

    def __exit__(self, *exc: object) -> bool | None: ...


class Plain:
    """Plain lines: one at the start, one every ``every`` seconds, one at the end of a step."""

    def __init__(self, stream: TextIO | None = None, every: float = 10.0):
        self._stream = stream or sys.stderr
        self._every = every

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        counter = _Counter(total)
        last = counter.started

        class Line:
            def advance(line, items: int = 1, tokens: int = 0) -> None:  # noqa: N805
                nonlocal last
                counter.add(items, tokens)
                if time.monotonic() - last >= self._every:
                    last = time.monotonic()
                    self.say(f"{label}: {counter}")

            def total(line, items: int) -> None:  # noqa: N805
                counter.total(items)

        yield Line()
        self.say(f"{label}: {counter}")


class Silent:
    """Nothing at all (``--quiet``, ``--json``)."""

    def say(self, text: str) -> None:
        del text

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        yield _Counter(total)


class Terminal:
    """rich's progress bar: items, tokens per second, time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        counter = _Counter(total)
        with RichProgress(*columns, console=self._console) as bars:
            task = bars.add_task(label, total=total, speed="")

            class Rich:
                def advance(self, items: int = 1, tokens: int = 0) -> None:
                    counter.add(items, tokens)
                    bars.update(task, completed=counter.items, speed=counter.speed)

                def total(self, items: int) -> None:
                    counter.total(items)
                    bars.update(task, total=items)

            yield Rich()


def for_stream(quiet: bool) -> Progress:
    """The kind of progress that fits standard error."""
    if quiet:
        return Silent()
    return Terminal() if sys.stderr.isatty() else Plain()


class _Counter:
    def __init__(self, total: int):
        self._total = total
        self.items = 0
        self.tokens = 0
        self.started = time.monotonic()

    def add(self, items: int, tokens: int) -> None:
        self.items += items
        self.tokens += tokens

    advance = add

    def total(self, items: int) -> None:
        self._total = items

    @property
    def speed(self) -> str:
        seconds = time.monotonic() - self.started
        return f"{self.tokens / seconds:,.0f} tok/s" if self.tokens and seconds > 0 else ""

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        left = ""
        if 0 < self.items < self._total:
            left = f", {seconds * (self._total - self.items) / self.items:.0f} s left"
        speed = f", {self.speed}" if self.speed else ""
        return f"{self.items}/{self._total} in {seconds:.1f} s{speed}{left}"
