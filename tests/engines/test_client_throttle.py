"""How fast a server is asked, and how long: waits in every form, limits per minute, one back-off for all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from client_stub import ASK, CHAT, GOOD, LONG, QUICK, client_of, error, serving

from cai.engines.server.throttle import Allowance, Pace, Patience
from cai.engines.server.waits import asked_wait, seconds
from cai.values.errors import EngineError, ItemError

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "Sat, 28 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 28 Nov 2026 11:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360.0),
        (
            {
                "x-ratelimit-reset-requests": "8m",
                "x-ratelimit-remaining-requests": "99",
                "x-ratelimit-reset-tokens": "1.5s",
                "x-ratelimit-remaining-tokens": "0",
            },
            1.5,
        ),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "1h2m3s"}, 0.02),
        (
            {
                "anthropic-ratelimit-input-tokens-reset": "2026-11-28T12:00:40Z",
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-28T12:00:01Z",
                "anthropic-ratelimit-requests-remaining": "49",
            },
            40.0,
        ),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() * 1000) + 5000)}, 5.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 7)}, 7.0),
        ({"ratelimit-reset": "9"}, 9.0),
        ({}, None),
    ],
)
def test_waits(headers: dict[str, str], wait: float | None) -> None:
    found = asked_wait(headers, None, NOW)
    assert found == (wait if wait is None else pytest.approx(wait))


def test_a_wait_in_the_body() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    for body in ({"error": {"details": [{}, info]}}, [{"error": {"details": [info]}}]):
        assert asked_wait({}, body, NOW) == 34.5
    assert asked_wait({}, {"error": {"details": "none"}}, NOW) is None
    assert seconds("1h0m0.5s", NOW) == 3600.5


def test_no_minute_has_more_than_its_limit() -> None:
    for limit, cost in ((60, 1.0), (3000, 1.0), (1, 1.0), (30_000, 700.0)):
        allowance = Allowance(limit, limit / 600)
        now, spent = 0.0, []
        while now < 240.0:
            now += allowance.wait(now, cost)
            allowance.wait(now, cost)
            allowance.spend(cost)
            spent.append(now)
        for start in range(0, 180, 7):
            within = sum(cost for moment in spent if start <= moment < start + 60)
            assert within <= limit + cost
        assert len(spent) * cost >= 0.8 * limit * 4


def test_tokens_are_corrected_afterwards() -> None:
    allowance = Allowance(6000, 100)
    allowance.wait(0.0, 100)
    allowance.spend(100)
    allowance.spend(900)  # it took a thousand
    assert allowance.wait(0.0, 100) == pytest.approx(1000 / ((6000 - 99) / 60))
    allowance.spend(-900)
    assert allowance.wait(0.0, 100) == pytest.approx(100 / ((6000 - 99) / 60))


async def test_the_bound_is_halved_once_a_wave_and_grows_by_one_a_wave() -> None:
    pace = Pace(64, Patience(first_pause=0.0))
    turns = [await pace.turn() for _ in range(64)]
    for turn in turns:
        pace.back_off(turn, None, slower=True)
        pace.done(turn)
    assert pace.limit == 32
    fresh = [await pace.turn() for _ in range(32)]
    for turn in fresh:
        pace.answered(turn)
        pace.done(turn)
    assert pace.limit == pytest.approx(33, abs=0.1)
    for _ in range(5000):
        turn = await pace.turn()
        pace.answered(turn)
        pace.done(turn)
    assert pace.limit == 64


async def test_a_cancelled_turn_leaves_its_place() -> None:
    pace = Pace(1, QUICK)
    first = await pace.turn()
    waiting = [asyncio.ensure_future(pace.turn()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    pace.done(first)
    waiting[1].cancel()  # it was given its turn and has not seen it
    pace.done(await waiting[2])
    assert pace.in_flight == 0


async def test_when_one_is_told_to_wait_all_wait() -> None:
    started = asyncio.get_running_loop().time()
    came: list[float] = []

    def script(_body: Any) -> Any:
        came.append(asyncio.get_running_loop().time() - started)
        return (429, error("slow"), {"Retry-After": "0.3"}) if len(came) == 1 else (200, GOOD)

    async with serving(script) as stub, client_of(stub.url, LONG, max_concurrency=2) as client:
        await asyncio.gather(*(client.post(CHAT, ASK) for _ in range(20)))
    # Those that were under way with the first, and none of the others.
    assert sum(moment < 0.3 for moment in came) <= 2
    assert len(came) == 21


async def test_a_server_with_room_for_four_is_asked_until_all_are_answered() -> None:
    stub_at_once = 0

    async def script(_body: Any) -> Any:
        nonlocal stub_at_once
        stub_at_once += 1
        try:
            if stub_at_once > 4:
                return 429, error("too many")
            await asyncio.sleep(0.002)
            return 200, GOOD
        finally:
            stub_at_once -= 1

    async with serving(script) as stub, client_of(stub.url, LONG, max_concurrency=64) as client:
        answers = await asyncio.gather(*(client.post(CHAT, ASK) for _ in range(200)))
    assert answers == [GOOD] * 200
    assert len(stub.bodies) < 500


async def test_1024_at_once_and_no_more() -> None:
    full = asyncio.Event()

    async def script(_body: Any) -> Any:
        if stub.at_once >= 1024:
            full.set()
        await asyncio.wait_for(full.wait(), 30.0)
        return 200, GOOD

    patience = Patience(timeout=60.0)
    async with (
        serving(script, backlog=2048) as stub,
        client_of(stub.url, patience, max_concurrency=1024) as client,
    ):
        await asyncio.gather(*(client.post(CHAT, ASK) for _ in range(1400)))
    assert stub.most_at_once == 1024


async def test_requests_per_minute_are_kept() -> None:
    async with serving([(200, GOOD)]) as stub, client_of(stub.url, requests_per_minute=1200) as client:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(client.post(CHAT, ASK) for _ in range(10)))
        assert loop.time() - started > 8 * 60 / 1200 * 0.9


async def test_an_outage_is_waited_for_by_one_and_said_once() -> None:
    said: list[str] = []
    state = {"down": False}

    def script(_body: Any) -> Any:
        return (502, "bad gateway") if state["down"] else (200, GOOD)

    patience = Patience(2, 0.001, 3.0, 5.0, 1.0, minutes=10 / 60)
    async with serving(script) as stub, client_of(stub.url, patience, said.append) as client:
        await client.post(CHAT, ASK)
        state["down"] = True
        loop = asyncio.get_running_loop()
        loop.call_later(0.4, state.update, {"down": False})
        answers = await asyncio.gather(*(client.post(CHAT, ASK) for _ in range(30)))
        assert answers == [GOOD] * 30
        # 30 were on their way; then one at a time, ever more slowly.
        assert len(stub.bodies) <= 1 + 30 + 30 + 15
    assert len(said) <= 1


async def test_a_wait_is_said_once_with_its_reason() -> None:
    said: list[str] = []
    script = [(429, error("Rate limit reached"), {"Retry-After": "2.2"}), (200, GOOD)]
    async with serving(script) as stub, client_of(stub.url, LONG, said.append) as client:
        await asyncio.gather(*(client.post(CHAT, ASK) for _ in range(8)))
    assert len(said) == 1
    assert "429: Rate limit reached; waiting 2 s" in said[0]


async def test_patience_ends_and_says_for_how_long() -> None:
    patience = Patience(2, 0.001, 0.02, 5.0, 1.0, minutes=0.2 / 60)
    async with serving([(200, GOOD), (503, error("down"))]) as stub, client_of(stub.url, patience) as client:
        await client.post(CHAT, ASK)
        with pytest.raises(EngineError, match=r"answered 503 every time for .* minutes \(503: down\).*later"):
            await client.post(CHAT, ASK)
    assert len(stub.bodies) > 4


async def test_a_wait_beyond_the_patience_is_not_begun() -> None:
    script = [(429, error("daily limit"), {"Retry-After": "86400"})]
    async with serving(script) as stub, client_of(stub.url, None) as client:
        with pytest.raises(EngineError, match=r"asks to wait 24\.0 h .*daily limit.*patience of 60 minutes"):
            await client.post(CHAT, ASK)
    assert len(stub.bodies) == 1


def poisonous(body: dict[str, Any]) -> Any:
    return (500, error("boom")) if body.get("poison") else (200, GOOD)


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_500_that_one_item_gets_while_others_are_answered_is_that_items(concurrency: int) -> None:
    """Also where no other is left to be answered: then one that was answered is asked again."""
    async with serving(poisonous) as stub, client_of(stub.url, LONG, max_concurrency=concurrency) as client:
        await client.post(CHAT, ASK)
        for count in (1, 3):
            poison = (client.post(CHAT, {**ASK, "poison": True}) for _ in range(count))
            for raised in await asyncio.gather(*poison, return_exceptions=True):
                assert isinstance(raised, ItemError)
                assert "500: boom" in str(raised)
    assert sum(bool(body.get("poison")) for body in stub.bodies) == 4 * (LONG.attempts + 1)


async def test_500_for_everybody_is_nobodys_fault() -> None:
    """An outage that answers 500 must not quarantine what happens to be on its way."""
    state = {"down": False}

    def script(_body: Any) -> Any:
        return (500, error("boom")) if state["down"] else (200, GOOD)

    async with serving(script) as stub, client_of(stub.url, LONG) as client:
        await client.post(CHAT, ASK)
        state["down"] = True
        asyncio.get_running_loop().call_later(0.5, state.update, {"down": False})
        assert await asyncio.gather(*(client.post(CHAT, ASK) for _ in range(10))) == [GOOD] * 10


async def test_a_client_serves_one_loop_after_another() -> None:
    async with serving([(200, GOOD)]) as stub, client_of(stub.url) as client:
        assert await client.post(CHAT, ASK) == GOOD
        assert await asyncio.to_thread(lambda: asyncio.run(client.post(CHAT, ASK))) == GOOD
        assert await client.post(CHAT, ASK) == GOOD
