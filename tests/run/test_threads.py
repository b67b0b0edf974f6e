"""Blocking work in a thread that ends with it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

import pytest

from cai.run.threads import apart

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody")


def test_the_thread_is_another_and_ends() -> None:
    def work(one: int, *, two: int) -> tuple[threading.Thread, str, int]:
        return threading.current_thread(), NAME.get(), one + two

    async def main() -> None:
        NAME.set("asked for")
        thread, name, total = await apart(work, 1, two=2)
        assert (name, total) == ("asked for", 3)
        assert thread is not threading.current_thread()
        deadline = time.monotonic() + 60
        while thread.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        # Looked at while the loop runs: asyncio.to_thread's would live until its end.
        assert not thread.is_alive()

    asyncio.run(main())


def test_what_it_raises_arrives() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(apart(work))


def test_the_loop_goes_on_meanwhile() -> None:
    async def main() -> bool:
        waiting = threading.Event()
        task = asyncio.ensure_future(apart(waiting.wait, 5.0))
        await asyncio.sleep(0)
        waiting.set()
        return await task

    assert asyncio.run(main())
