"""A server on loopback whose answers are scripted, and a client for it. Shared by the tests of the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from cai.config.run_config import ModelConfig
from cai.engines.server.client import JsonClient, Patience

QUICK = Patience(attempts=4, first_pause=0.001, longest_pause=0.02, timeout=5.0, connect_timeout=1.0)
# Ten seconds for a server that has answered before.
LONG = Patience(4, 0.001, 0.01, 5.0, 1.0, minutes=10 / 60)
GOOD = {"choices": [{"message": {"content": "Hi."}}], "usage": {"total_tokens": 5}}
CHAT = "/chat/completions"
ASK = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 8}

#: (status, content[, headers]); content is JSON, or text as it is; None: the connection is dropped.
Scripted = tuple[Any, ...] | None
Script = list[Scripted] | Callable[[dict[str, Any]], Scripted | Awaitable[Scripted]]


class Stub:
    """Answers by ``script``: a list used up in order (its last entry stays), or a function of the body."""

    def __init__(self, script: Script):
        self.script = script
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[web.Request] = []
        self.at_once = self.most_at_once = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.requests.append(request)
            self.bodies.append(await request.json() if request.method == "POST" else {})
            scripted = await self.next()
        finally:
            self.at_once -= 1
        if scripted is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, content, *headers = scripted
        text = content if isinstance(content, str) else json.dumps(content)
        return web.Response(status=status, text=text, headers=headers[0] if headers else None)

    async def next(self) -> Scripted:
        if not callable(self.script):
            return self.script[min(len(self.bodies), len(self.script)) - 1]
        scripted = self.script(self.bodies[-1])
        return await scripted if isinstance(scripted, Awaitable) else scripted


@asynccontextmanager
async def serving(script: Script, **options: Any) -> AsyncIterator[Stub]:
    stub = Stub(script)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(**options)
    try:
        stub.url = f"{server.scheme}://127.0.0.1:{server.port}/v1"
        yield stub
    finally:
        await server.close()


@asynccontextmanager
async def client_of(
    url: str, patience: Patience | None = QUICK, say: Callable[[str], None] | None = None, **settings: Any
) -> AsyncIterator[JsonClient]:
    client = JsonClient(ModelConfig(name="m", engine="openai", **settings), url, patience, say)
    try:
        yield client
    finally:
        await client.close()


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}
