"""Asks a model on a server in batches: for tests in this process, and as a program that may be killed.

python -m tests.engines.batch_asking JOURNAL ENGINE URL
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from cai.config.run_config import BudgetConfig, ModelConfig, PriceConfig
from cai.engines.batches import pool
from cai.engines.models import Models
from cai.engines.purse import Purse
from cai.run.journal import Journal
from cai.values.types import Completion, CompletionRequest, Message, Sampling
from tests.engines.batch_stub import Desk

QUICK = pool.Timing(quiet=0.2, first=0.01, longest=0.02)
PRICE = PriceConfig(input=1.0, output=2.0)
MANY = 6


def request(n: int) -> CompletionRequest:
    return CompletionRequest((Message("user", f"Question {n}?"),), Sampling(0.7, 1.0, 32), seed=n)


def model(url: str, engine: Any = "openai", **settings: Any) -> ModelConfig:
    return ModelConfig(**{"name": "m", "engine": engine, "base_url": url, "batch": True, **settings})


async def ask(
    path: Path, config: ModelConfig, numbers: Iterable[int] = range(MANY), budget: int | None = None
) -> list[Completion | BaseException]:
    with closing(Journal(path, lambda _: None)) as journal:
        models = Models(journal, Purse(BudgetConfig(tokens=budget), journal))
        engine = models.engine(config)
        try:
            asked = (engine.complete(request(n)) for n in numbers)
            return list(await asyncio.gather(*asked, return_exceptions=True))
        finally:
            await models.close()


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[str]:
    """``desk`` on loopback → its base URL."""

    async def handle(asked: web.Request) -> web.Response:
        raw = await asked.read()
        status, content = desk(asked.method, asked.raw_path, asked.headers.get("Content-Type", ""), raw)
        if status == 0:
            assert asked.transport is not None
            asked.transport.abort()
            return web.Response()
        return (
            web.Response(status=status, text=content)
            if isinstance(content, str)
            else web.json_response(content, status=status)
        )

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield f"http://127.0.0.1:{server.port}/v1"
    finally:
        await server.close()


if __name__ == "__main__":
    pool.TIMING = QUICK
    journal, kind, url = sys.argv[1:]
    for answer in asyncio.run(ask(Path(journal), model(url, kind, price=PRICE))):
        print(answer.text if isinstance(answer, Completion) else repr(answer))
