"""Bounded concurrency, order, and what happens to an item or a stage that fails."""

from __future__ import annotations

import asyncio

import pytest

from cai.run.runner import run_items, together
from cai.values.errors import EngineError, ItemError


async def test_results_keep_the_order_of_the_items() -> None:
    async def work(n: int) -> int:
        await asyncio.sleep((7 - n % 7) / 1000)
        return n * n

    results = await run_items("s", [(str(n), n) for n in range(50)], work, bound=8)
    assert results.done == [n * n for n in range(50)]


async def test_no_more_than_the_bound_at_once_and_items_are_pulled_lazily() -> None:
    running = peak = pulled = 0

    def items():
        nonlocal pulled
        for n in range(30):
            pulled += 1
            assert pulled - n <= 4
            yield str(n), n

    async def work(n: int) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        assert pulled <= n + 4
        await asyncio.sleep(0.001)
        running -= 1

    await run_items("s", items(), work, bound=3)
    assert peak == 3


async def test_a_bad_item_is_quarantined_and_the_rest_goes_on() -> None:
    async def work(n: int) -> int:
        if n % 3 == 0:
            raise ItemError("divisible", f"n={n}")
        return n

    results = await run_items("stage", [(f"i{n}", n) for n in range(7)], work)
    assert results.done == [1, 2, 4, 5]
    assert [(f.stage, f.item, f.reason, f.detail) for f in results.failures] == [
        ("stage", "i0", "divisible", "n=0"),
        ("stage", "i3", "divisible", "n=3"),
        ("stage", "i6", "divisible", "n=6"),
    ]


async def test_an_engine_error_stops_the_stage_and_comes_out_bare() -> None:
    started = 0

    async def work(n: int) -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(0.001 if n == 2 else 10)
        raise EngineError("gone")

    with pytest.raises(EngineError, match="gone"):
        await run_items("s", [(str(n), n) for n in range(100)], work, bound=5)
    assert started == 5


async def test_nothing_to_do() -> None:
    async def work(n: int) -> int:
        return n

    results = await run_items("s", [], work)
    assert results.done == []
    assert results.failures == []


async def test_what_hangs_on_no_other_answer_is_asked_together() -> None:
    asked, all_asked = [], asyncio.Event()

    async def work(n: int) -> int:
        asked.append(n)
        if len(asked) == 3:
            all_asked.set()
        await all_asked.wait()
        return n

    assert await together(work(n) for n in range(3)) == [0, 1, 2]


async def test_the_first_failure_ends_what_was_asked_together_and_is_raised_as_it_is() -> None:
    cancelled = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def fails() -> None:
        raise EngineError("gone")

    with pytest.raises(EngineError, match=r"^gone$"):
        await together([waits(), fails()])
    assert cancelled
