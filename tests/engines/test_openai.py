"""The OpenAI-compatible engine against a real HTTP server on loopback whose answers are scripted."""

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep

import pytest

from cai.config.run_config import ModelConfig, RunConfig
from cai.config.settings import resolve
from cai.engines.backend import concurrency, open_engine
from cai.engines.server.client import Patience
from cai.engines.server.openai import OpenAIEngine
from cai.pipeline.launch import _write_inputs
from cai.run.folder import RunFolder
from cai.values.errors import EngineError, ItemError
from cai.values.types import Completion, CompletionRequest, Message, Sampling

QUICK = Patience(attempts=4, first_pause=0.01, longest_pause=0.3, timeout=2.0, connect_timeout=1.0)
ASK = CompletionRequest((Message("user", "Hello?"),), Sampling(0.7, 0.9, 16, ("END",)), seed=5)


def reply(text="Hi.", finish="stop", **extra):
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish, **extra}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def refusal(status, message):
    return status, {"error": {"message": message}}


class Server:
    """Answers by ``script``: a list used up in order (its last entry stays), or a function of the body."""

    def __init__(self, script):
        self.script = script
        self.bodies = []
        self.headers = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def answer(self, body, headers):
        with self.lock:
            self.bodies.append(body)
            self.headers.append(headers)
            if callable(self.script):
                return self.script(body)
            return self.script[min(len(self.bodies), len(self.script)) - 1]


@contextmanager
def serving(script, delay=0.0):
    server = Server(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            with server.lock:
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content, *headers = server.answer(body, dict(self.headers))
            sleep(delay)
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            with server.lock:
                server.at_once -= 1
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def engine_for(server, **settings):
    return OpenAIEngine(ModelConfig(name="m", engine="openai", **settings), server.url, "fp", QUICK)


async def test_complete_sends_the_request_and_reads_the_answer(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving([reply("Fine. END and more")]) as server:
        engine = engine_for(server)
        assert await engine.complete(ASK) == Completion("Fine. ", "stop", 3, 2)
        await engine.close()
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hello?"}],
            "temperature": 0.7,
            "top_p": 0.9,
            "seed": 5,
            "max_tokens": 16,
            "stop": ["END"],
        }
    ]
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"


async def test_half_a_surrogate_pair_in_an_answer_is_replaced():
    """JSON can spell it; tokenizers and parquet files refuse it."""
    body = json.dumps({"choices": [{"message": {"content": "so \ud83d so"}, "finish_reason": "stop"}]})
    with serving([(200, body)]) as server:
        answer = await engine_for(server).complete(ASK)
    assert answer.text == "so \ufffd so"


async def test_length_and_thinking():
    with serving([reply("cut", "length"), reply("<think>Hm.</think>Yes."), reply("<think>Hm")]) as server:
        engine = engine_for(server)
        assert (await engine.complete(ASK)).finish == "length"
        assert (await engine.complete(ASK)).text == "Yes."
        assert (await engine.complete(ASK)).finish == "length"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_busy_servers_are_asked_again(status):
    with serving([refusal(status, "busy"), refusal(status, "busy"), reply()]) as server:
        assert (await engine_for(server).complete(ASK)).text == "Hi."
    assert len(server.bodies) == 3


async def test_retry_after_is_honoured():
    with serving([(429, {"error": "slow"}, ("Retry-After", "0.25")), reply()]) as server:
        started = monotonic()
        await engine_for(server).complete(ASK)
    assert monotonic() - started >= 0.25


async def test_a_slow_answer_is_asked_for_again():
    calls = []

    def slow_once(_body):
        calls.append(1)
        if len(calls) == 1:
            sleep(2.5)
        return reply()

    with serving(slow_once) as server:
        assert (await engine_for(server).complete(ASK)).text == "Hi."
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (refusal(429, "quota"), EngineError, "answered 429 every time.*quota"),
        (refusal(500, "boom"), ItemError, "failed on this request.*boom"),
        (refusal(401, "Incorrect key sk-secret"), EngineError, "OPENAI_API_KEY"),
        (refusal(404, "no model m"), EngineError, "no such model.*no model m"),
        (refusal(400, "context length is 10"), ItemError, "refuses this request.*context length"),
        ((200, "<html>"), EngineError, "web page"),
        ((200, {"choices": []}), ItemError, "no choices"),
        (reply("", "content_filter"), ItemError, "withheld"),
    ],
)
async def test_errors_say_what_to_do(monkeypatch, answer, error, words):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving([answer]) as server, pytest.raises(error, match=f"(?s){words}") as caught:
        await engine_for(server).complete(ASK)
    assert "sk-secret" not in str(caught.value)


async def test_no_server():
    with serving([reply()]) as server:
        pass
    with pytest.raises(EngineError, match=r"cannot be reached.*OPENAI_BASE_URL"):
        await engine_for(server).complete(ASK)


async def test_concurrency_is_bounded():
    with serving([reply()], delay=0.05) as server:
        engine = engine_for(server, max_concurrency=3)
        await asyncio.gather(*(engine.complete(ASK) for _ in range(12)))
    assert len(server.bodies) == 12
    assert server.most_at_once <= 3


async def test_a_stage_command_over_a_run_folder_keeps_the_engines_own_limit(tmp_path):
    """The folder's config.yaml has every setting; what nobody chose must not come back as chosen."""
    with serving([reply()], delay=0.2) as server:
        chosen = {"labeler": {"name": "m", "engine": "openai", "base_url": server.url}}
        _write_inputs(RunFolder(tmp_path), RunConfig.model_validate(chosen), "principles: [Be kind.]")
        labeler = resolve(tmp_path / "config.yaml", [], {}, {}).labeler
        assert concurrency(labeler) == 64
        engine = OpenAIEngine(labeler, server.url, "f", Patience(timeout=30.0))
        await asyncio.gather(*(engine.complete(ASK) for _ in range(100)))
        await engine.close()
    assert len(server.bodies) == 100
    assert 8 < server.most_at_once <= 64
    assert concurrency(ModelConfig(engine="transformers")) == 1024
    assert concurrency(labeler.model_copy(update={"max_concurrency": 3})) == 3


async def test_the_newer_name_of_max_tokens():
    def newer(body):
        if "max_tokens" in body:
            return refusal(400, "use max_completion_tokens instead of max_tokens")
        return reply()

    with serving(newer) as server:
        engine = engine_for(server)
        await engine.complete(ASK)
        await engine.complete(ASK)
    assert [("max_tokens" in body) for body in server.bodies] == [True, False, False]


async def test_opened_from_the_configuration(monkeypatch):
    with serving([reply()]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        engine = await open_engine(ModelConfig(name="m", engine="openai"))
        assert (await engine.complete(ASK)).text == "Hi."
        await engine.close()
