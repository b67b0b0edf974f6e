"""CPU that one request to a model's server costs the client, beside bare aiohttp and bare httpx.

    python -m benchmarks.server_client [--requests 4000] [--repeats 2]

A stub in another process answers after 50 ms, in the form of a chat completion. Each client asks it with 64
and with 1,024 requests in flight: cai's own (``cai/engines/server/client.py``), a bare aiohttp session and a
bare httpx client under a semaphore, as cai's client was built before. CPU is ``time.process_time`` of this
process, so the stub's own is not in it; the best of ``--repeats`` counts, the clients taking turns. Left out:
TLS, answers of several kilobytes, refusals.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from typing import Any

DELAY = 0.05
PATH = "/chat/completions"
PAYLOAD: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Which response is better, and why? " * 20}],
    "max_tokens": 16,
    "temperature": 1.0,
    "seed": 7,
}
ANSWER = {
    "id": "x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "The first one. " * 10}}],
    "usage": {"prompt_tokens": 120, "completion_tokens": 16, "total_tokens": 136},
}
Post = Callable[[], Awaitable[Any]]


def stub(say: Connection) -> None:
    """A server that takes its time and no other resource; sends its port."""
    from aiohttp import web

    body = json.dumps(ANSWER).encode()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(DELAY)
        return web.Response(body=body, content_type="application/json")

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1" + PATH, answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        say.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


async def opened(client: str, url: str, in_flight: int, stack: AsyncExitStack) -> Post:
    """One request of the named client."""
    if client == "cai":
        from cai.config.run_config import ModelConfig
        from cai.engines.server.client import JsonClient

        own = JsonClient(ModelConfig(name="m", base_url=url, max_concurrency=in_flight), url)
        stack.push_async_callback(own.close)
        return lambda: own.post(PATH, PAYLOAD)
    bound = asyncio.Semaphore(in_flight)
    if client == "aiohttp":
        import aiohttp

        bare = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight))
        )

        async def by_aiohttp() -> Any:
            async with bound, bare.post(url + PATH, json=PAYLOAD) as response:
                return await response.json()

        return by_aiohttp
    import httpx

    old = await stack.enter_async_context(
        httpx.AsyncClient(timeout=600.0, limits=httpx.Limits(max_connections=in_flight))
    )

    async def by_httpx() -> Any:
        async with bound:
            return (await old.post(url + PATH, json=PAYLOAD)).json()

    return by_httpx


async def measure(client: str, url: str, in_flight: int, requests: int) -> tuple[float, float]:
    """(milliseconds of this process's CPU per request, requests per second)"""
    async with AsyncExitStack() as stack:
        post = await opened(client, url, in_flight, stack)
        await asyncio.gather(*(post() for _ in range(in_flight)))  # connections are made
        left = iter(range(requests))

        async def worker() -> None:
            for _ in left:
                answer = await post()
                assert answer["usage"]["total_tokens"] == 136

        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        return (time.process_time() - cpu) / requests * 1000, requests / (time.perf_counter() - wall)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=stub, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print("| client | in flight | CPU per request, ms | requests per s of CPU | requests per s |")
    print("| --- | --- | --- | --- | --- |")
    for in_flight in (64, 1024):
        best: dict[str, tuple[float, float]] = {}
        for _ in range(arguments.repeats):
            for client in ("cai", "aiohttp", "httpx"):
                found = asyncio.run(measure(client, url, in_flight, arguments.requests))
                best[client] = min(best.get(client, found), found)
        for client, (cpu, rate) in best.items():
            print(f"| {client} | {in_flight:,} | {cpu:.2f} | {1000 / cpu:,.0f} | {rate:,.0f} |")
    server.terminate()


if __name__ == "__main__":
    main()
