"""The OpenAI-compatible engine against vLLM's own server on loopback, compared with the model in process."""

import asyncio
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import httpx
import pytest

from cai.config.run_config import ModelConfig
from cai.engines.backend import open_engine
from cai.values.errors import ItemError
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Sampling

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM"),
]
START = 300  # seconds
FLOOR = 0.5  # of the options' mass, below which a label is unscored by default

PROMPTS = ["Which is a fruit? (A) apple (B) hammer", "Which is a tool? (A) apple (B) hammer"]


@pytest.fixture(scope="module")
def server(smollm2):
    """``vllm serve`` on a free port of 127.0.0.1; its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "TORCH_COMPILE_DISABLE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model", str(smollm2), "--served-model-name", "smol"]
    command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait(process, f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def _wait(process, url):
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.skip(f"vLLM's server ended with {process.returncode}")
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(1)
    pytest.skip(f"vLLM's server was not up in {START} s")


@contextmanager
def dropping(url, fields):
    """A proxy in front of ``url`` that drops ``fields``, as gateways do with what they do not know."""

    class Handler(BaseHTTPRequestHandler):
        def reply(self, response):
            data = response.content
            self.send_response(response.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            self.reply(httpx.get(url.removesuffix("/v1") + self.path))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kept = {name: value for name, value in body.items() if name not in fields}
            self.reply(httpx.post(url.removesuffix("/v1") + self.path, json=kept, timeout=300))

        def log_message(self, *args):
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}/v1"
    finally:
        proxy.shutdown()
        proxy.server_close()


async def test_labels_behind_a_proxy_that_drops_fields_are_the_same_or_none(server):
    """They were others, with exit 0: in the letter's place stood the beginning of a new turn."""
    questions = [
        ChoiceRequest((Message("user", f"{text} Which is better?"),), ("A", "B"), "The answer is: (")
        for text in (*PROMPTS, "(A) Hello. (B) Go away.", "(A) 2 + 2 = 5 (B) 2 + 2 = 4")
    ]
    fields = {"continue_final_message", "add_generation_prompt", "structured_outputs"}
    direct = await open_engine(ModelConfig(name="smol", engine="openai", base_url=server))
    assert await direct.forms(["choice", "options"]) == {
        "choice": "continued",
        "options": "structured_outputs",
    }
    with dropping(server, fields) as url:
        behind = await open_engine(ModelConfig(name="smol", engine="openai", base_url=url))
        assert (await behind.forms(["choice"])) == {"choice": "words"}
        for question in questions:
            choice = await direct.choose(question)
            assert sum(map(math.exp, choice.logprobs)) > 0.5
            try:
                other = await behind.choose(question)
            except ItemError:
                continue
            mass = sum(map(math.exp, other.logprobs))
            odds = [one.logprobs[0] - one.logprobs[1] for one in (choice, other)]
            same = odds[0] == pytest.approx(odds[1], abs=4e-3)  # 1e-3 of P at its steepest
            assert mass < FLOOR or same
        await behind.close()
    await direct.close()


async def test_server_and_process_agree(server, smollm2):
    remote = await open_engine(ModelConfig(name="smol", engine="openai", base_url=server))
    local = await open_engine(ModelConfig(name=str(smollm2), engine="transformers", dtype="float32"))
    for text in PROMPTS:
        messages = (Message("user", text),)
        spelled = await local.choose(ChoiceRequest(messages, ("A", " A", "B", " B"), "The answer is: ("))
        a, space_a, b, space_b = map(math.exp, spelled.logprobs)
        found = await remote.choose(ChoiceRequest(messages, ("A", "B"), "The answer is: ("))
        expected = (math.log(a + space_a), math.log(b + space_b))
        assert found.logprobs == pytest.approx(expected, abs=5e-3)

        for prefill in ("", "The answer"):
            request = CompletionRequest(messages, Sampling(0.0, max_tokens=12), 0, prefill)
            there, here = await asyncio.gather(remote.complete(request), local.complete(request))
            assert there.text == here.text
            assert there.finish == here.finish
            assert there.prompt_tokens == here.prompt_tokens
    await remote.close()
    await local.close()
