"""One name, one model: a server may move, and may not become another model under the same name unnoticed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cai.config.run_config import ModelConfig
from cai.engines import backend
from cai.engines.models import Models
from cai.engines.server.announced import told_apart
from cai.run.journal import Journal, key
from cai.values.errors import EngineError
from cai.values.types import CompletionRequest, Message, Sampling


def request(n: int) -> CompletionRequest:
    return CompletionRequest((Message("user", f"hello {n}"),), Sampling(), seed=n)


@contextmanager
def serving(entry: dict[str, Any] | None, answer: str) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that announces ``entry`` (None: has no list) → its URL, and the paths asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def reply(self, content: Any, status: int = 200) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.reply({"data": [entry]}) if entry is not None else self.reply({}, 404)

        def do_POST(self) -> None:
            self.reply({"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]})

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def ask(path: Path, url: str, n: int, **settings: Any) -> str:
    with closing(Journal(path)) as journal:
        models = Models(journal)
        try:
            engine = models.engine(ModelConfig(name="m", engine="openai", base_url=url, **settings))
            return (await engine.complete(request(n))).text
        finally:
            await models.close()


VLLM = {"id": "m", "object": "model", "root": "/models/llama-a", "max_model_len": 4096}


async def test_a_server_elsewhere_is_asked_nothing_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with serving(VLLM, "from a") as (url, asked):
        assert await ask(path, url, 1) == "from a"
        assert asked == ["/v1/models", "/v1/chat/completions"]
    # Nobody listens any more at either address.
    assert await ask(path, url, 1) == "from a"
    assert await ask(path, "http://127.0.0.1:9/v1", 1) == "from a"
    with serving({**VLLM, "root": "/elsewhere/llama-a", "max_model_len": 99}, "from a") as (url, asked):
        assert await ask(path, url, 1) == "from a"
        assert asked == []
        assert await ask(path, url, 2) == "from a"


async def test_another_model_under_the_same_name_is_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with serving(VLLM, "from a") as (url, _):
        await ask(path, url, 1)
    with serving({**VLLM, "root": "/models/llama-b"}, "from b") as (url, asked):
        with pytest.raises(EngineError, match=r"root llama-a→llama-b.*--set critic\.revision=llama-b"):
            await ask(path, url, 2)
        assert asked == ["/v1/models"]
        assert await ask(path, url, 1, revision="llama-b") == "from b"  # named apart: its own answers
        assert await ask(path, url, 1) == "from a"


@pytest.mark.parametrize("entry", [None, {"id": "m"}, {"id": "another"}])
async def test_a_server_that_tells_nothing_is_believed(tmp_path: Path, entry: dict[str, Any] | None) -> None:
    path = tmp_path / "journal.sqlite"
    with serving(entry, "from a") as (url, _):
        assert await ask(path, url, 1) == "from a"
    with serving({"id": "m", "owned_by": "me"}, "from b") as (url, _):
        assert await ask(path, url, 2) == "from b"


async def test_answers_from_before_addresses_were_left_out_still_count(tmp_path: Path) -> None:
    path, config = tmp_path / "journal.sqlite", ModelConfig(name="m", engine="openai", base_url="http://x/v1")
    former = backend.former_fingerprint(config)
    assert former is not None and former != backend.fingerprint(config)
    with closing(Journal(path)) as journal:
        journal.put(key(former, request(1)), "m", request(1), {"text": "kept", "finish": "stop"})
    assert await ask(path, "http://x/v1", 1) == "kept"


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([VLLM], {"root": "llama-a"}),
        ([{"id": "other"}, VLLM], {"root": "llama-a"}),
        ([{"id": "/gguf/a.gguf", "meta": {"n_params": 5, "n_ctx": 9}}], {"id": "a.gguf", "n_params": "5"}),
        ([{"id": "m", "sha256": "abc", "created": 1}], {"sha256": "abc"}),
        ([{"id": "x"}, {"id": "y"}], {}),
        (["m", None, 3], {}),
        ([{"id": "m", "root": None, "meta": [1]}], {}),
        ([], {}),
    ],
)
def test_what_tells_models_apart(listed: list[Any], expected: dict[str, str]) -> None:
    assert told_apart(listed, "m") == expected
