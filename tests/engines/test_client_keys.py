"""Whose key goes where, and that it is nowhere else: no file, no message, no other host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from client_stub import ASK, CHAT, GOOD, client_of, error, serving

from cai.config.run_config import ModelConfig, RunConfig
from cai.config.settings import resolve
from cai.engines.models import Models
from cai.engines.server import connection
from cai.engines.server.credentials import Credentials, credentials
from cai.pipeline.launch import _write_inputs
from cai.run.folder import RunFolder
from cai.run.journal import Journal
from cai.run.runner import run_items
from cai.values.errors import CaiError, EngineError, FileError, UsageError
from cai.values.types import CompletionRequest, Message, Sampling

KEY = "sk-proj-0123456789abcdef/+="
OPENAI = "https://api.openai.com/v1"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def who(url: str, environ: dict[str, str], **settings: Any) -> Credentials:
    return credentials(ModelConfig(name="m", engine="openai", **settings), url, environ)


def sent(url: str, environ: dict[str, str], **settings: Any) -> str | None:
    return who(url, environ, **settings).headers.get("Authorization")


@pytest.mark.parametrize(
    ("url", "settings", "environ", "goes"),
    [
        (OPENAI, {}, {}, True),
        (OPENAI, {"base_url": OPENAI}, {}, True),
        ("https://eu.api.openai.com/v1", {"base_url": "https://eu.api.openai.com/v1"}, {}, True),
        ("http://vllm:8000/v1", {}, {"OPENAI_BASE_URL": "http://vllm:8000/v1"}, True),
        (
            "http://vllm:8000/v2",
            {"base_url": "http://vllm:8000/v2"},
            {"OPENAI_BASE_URL": "http://vllm:1"},
            True,
        ),
        ("http://other/v1", {"base_url": "http://other/v1"}, {"OPENAI_BASE_URL": "http://vllm:1"}, False),
        ("https://openrouter.ai/api/v1", {"base_url": "https://openrouter.ai/api/v1"}, {}, False),
        ("https://api.openai.com.evil.org/v1", {"base_url": "https://api.openai.com.evil.org/v1"}, {}, False),
        ("https://evilapi.openai.com/v1", {"base_url": "https://evilapi.openai.com/v1"}, {}, False),
        ("http://127.0.0.1:8000/v1", {"base_url": "http://127.0.0.1:8000/v1"}, {}, False),
    ],
)
def test_openais_key_goes_to_openai_and_where_openai_base_url_points(
    url: str, settings: dict[str, str], environ: dict[str, str], goes: bool
) -> None:
    assert sent(url, {"OPENAI_API_KEY": KEY, **environ}, **settings) == (f"Bearer {KEY}" if goes else None)


def test_other_keys_go_to_their_own_hosts() -> None:
    keys = {"OPENAI_API_KEY": KEY, "OPENROUTER_API_KEY": "or", "AZURE_OPENAI_API_KEY": "az", "MINE": "mine"}
    router = "https://openrouter.ai/api/v1"
    assert sent(router, keys, base_url=router) == "Bearer or"
    assert sent(router, keys, base_url=router, api_key_env="MINE") == "Bearer mine"
    assert sent(OPENAI, keys, api_key_env="") is None
    azure = "https://us.openai.azure.com/openai/v1"
    found = who(azure, keys, base_url=azure, query={"api-version": "2026-01-01"})
    assert (found.headers, found.query) == ({"api-key": "az"}, {"api-version": "2026-01-01"})
    for elb in ("https://bedrock.elb.amazonaws.com/v1", "https://x.aliyuncs.com/v1"):
        assert sent(elb, {"AWS_BEARER_TOKEN_BEDROCK": "b", "DASHSCOPE_API_KEY": "d"}, base_url=elb) is None


def test_a_key_is_taken_without_blanks_around_it_and_refused_without_being_shown() -> None:
    assert sent(OPENAI, {"OPENAI_API_KEY": f" {KEY}\r\n"}) == f"Bearer {KEY}"
    assert sent(OPENAI, {"OPENAI_API_KEY": "  \n"}) is None
    for bad in (f"{KEY}\u2013x", f"{KEY} x", f"{KEY}\nx", f"{KEY}\u200b", f"'{KEY}'", f"{KEY}\x07"):
        with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
            who(OPENAI, {"OPENAI_API_KEY": bad})
        assert KEY not in str(caught.value)
    with pytest.raises(UsageError, match="in the clear: write https"):
        who("http://api.openai.com/v1", {"OPENAI_API_KEY": KEY})
    with pytest.raises(UsageError, match="api_key_env names MINE, and that variable is not set"):
        who(OPENAI, {}, api_key_env="MINE")
    assert KEY not in repr(who(OPENAI, {"OPENAI_API_KEY": KEY}))


def test_headers_and_parameters_may_name_variables() -> None:
    settings = {"base_url": "http://h/v1", "headers": {"Authorization": "Token ${MINE}", "X-Title": "cai"}}
    found = who("http://h/v1", {"MINE": f"{KEY}\n", "OPENAI_API_KEY": "other"}, **settings)
    assert found.headers == {"Authorization": f"Token {KEY}", "X-Title": "cai"}
    assert found.hide(f"no {KEY}") == "no [key]"
    with pytest.raises(UsageError, match="header Authorization of the server takes MINE"):
        who("http://h/v1", {}, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"headers": {"Authorization": f"Bearer {KEY}"}},
        {"headers": {"x-api-key": "abc"}},
        {"headers": {"api-key": "x${MINE}"}},
        {"headers": {"X-Anything": KEY}},
        {"query": {"key": "AIzaSyD"}},
        {"extra_body": {"router": {"api_key": KEY}}},
        {"api_key_env": KEY},
        {"api_key_env": "AIzaSyDx0123456789abcdefghij"},
        {"base_url": f"https://user:{KEY}@host/v1"},
        {"base_url": f"https://host/v1?api-key={KEY}"},
    ],
)
def test_a_secret_in_the_configuration_is_refused_before_it_is_written(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"critic": {"name": "m", **settings}}))
    with pytest.raises(FileError, match=r"config.yaml:\d+") as caught:
        resolve(path, [], {}, {})
    for secret in (KEY, "AIza", "abc", "${MINE}"):
        assert secret not in str(caught.value).replace("${", "")


def test_what_is_no_secret_is_taken() -> None:
    ModelConfig(
        name="m",
        headers={"X-Title": "t", "anthropic-beta": "token-efficient-tools", "api-key": "${MY_KEY}"},
        query={"api-version": "2026-01-01"},
        extra_body={"prompt_cache_key": "x", "chat_template_kwargs": {"enable_thinking": False}},
        api_key_env="MY_KEY_2",
        base_url="https://host/v1?api-version=1",
    )


async def test_azures_form_of_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    settings = {"query": {"api-version": "2026-01-01"}, "headers": {"api-key": "${MY_KEY}"}}
    async with serving([(200, GOOD)]) as stub, client_of(stub.url + "/?tier=a b", **settings) as client:
        assert client.base_url == stub.url
        await client.post(CHAT, ASK)
    assert stub.requests[0].path_qs == "/v1/chat/completions?tier=a+b&api-version=2026-01-01"
    assert stub.requests[0].headers["api-key"] == KEY
    assert "Authorization" not in stub.requests[0].headers


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ((401, error("bad key")), r"No key was sent.*api_key_env.*goes to OpenAI alone"),
        ((403, error("flagged by moderation", code="forbidden")), r"^flagged by moderation$"),
    ],
)
async def test_advice_fits_what_was_sent(monkeypatch: pytest.MonkeyPatch, answer: Any, advice: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with serving([answer]) as stub, client_of(stub.url, base_url=stub.url) as client:
        with pytest.raises(Exception, match=advice):
            await client.post(CHAT, ASK)
    assert "Authorization" not in stub.requests[0].headers


async def test_no_key_is_in_any_file_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a server that repeats every header in refusals and in answers."""
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    monkeypatch.setenv("MY_TENANT", "tenant-secret-9876543210")

    def echo(body: dict[str, Any]) -> Any:
        heard = f"{dict(stub.requests[-1].headers)} {stub.requests[-1].query_string}"
        if "refuse" in str(body):
            return 400, error(f"refused: {heard}")
        return 200, {"choices": [{"message": {"content": heard}, "finish_reason": "stop"}]}

    async with serving(echo) as stub:
        chosen = {
            **{"name": "m", "engine": "openai", "base_url": stub.url, "api_key_env": "MY_KEY"},
            "headers": {"X-Token": "${MY_TENANT}"},
            "query": {"sig": "${MY_TENANT}"},
        }
        config = RunConfig.model_validate({"critic": chosen})
        folder = RunFolder(tmp_path)
        _write_inputs(folder, config, "principles: [Be kind.]")
        assert config.critic is not None
        journal = Journal(tmp_path / "journal.sqlite")
        models = Models(journal)
        engine = models.engine(config.critic)
        texts = [("1", "Hello?"), ("2", "refuse"), ("3", "Good day?")]

        async def ask(text: str) -> str:
            request = CompletionRequest((Message("user", text),), Sampling(), seed=5)
            return (await engine.complete(request)).text

        results = await run_items("revise", texts, ask)
        await models.close()
        journal.close()
        assert len(results.done) == 2
        assert len(results.failures) == 1
        (tmp_path / "failures.jsonl").write_text("\n".join(map(str, results.failures)))
        (tmp_path / "texts.txt").write_text("\n".join(results.done))
    assert all(request.headers["Authorization"] == f"Bearer {KEY}" for request in stub.requests)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    for path in files:
        held = path.read_bytes()
        for secret in (KEY, "0123456789abcdef", "tenant-secret-9876543210"):
            assert secret.encode() not in held, path
    assert "[key]" in (tmp_path / "failures.jsonl").read_text()


async def test_a_password_of_the_variables_address_is_sent_and_not_shown() -> None:
    async with serving([(401, error("who?"))]) as stub:
        url = stub.url.replace("http://", "http://rosa:pass-word-1@")
        async with client_of(url) as client:
            with pytest.raises(EngineError) as caught:
                await client.post(CHAT, ASK)
    assert stub.requests[0].headers["Authorization"] == "Basic cm9zYTpwYXNzLXdvcmQtMQ=="
    assert "pass-word" not in str(caught.value)
    assert "rosa" not in str(caught.value)


def test_proxies_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://u:pw@proxy:1080")
    assert connection.proxy_for("https://host/v1") == "socks5h://u:pw@proxy:1080"
    assert connection.proxy_for("http://127.0.0.1:8000/v1") is None
    assert connection.proxy_for("http://localhost:8000/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    assert connection.proxy_for("https://host/v1") == "http://proxy:3128"
    monkeypatch.setenv("NO_PROXY", "host,.lan")
    assert connection.proxy_for("https://host/v1") is None
    assert connection.proxy_for("https://a.lan:8000/v1") is None
    assert connection.shown("http://u:pw@proxy:1") == "http://proxy:1"


async def test_a_socks_proxy_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://u:pw@proxy:1080")
    monkeypatch.setattr(connection.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CaiError, match="pip install aiohttp-socks") as caught:
        async with client_of("http://host.invalid/v1") as client:
            await client.post(CHAT, ASK)
    assert "pw" not in str(caught.value)


async def test_a_request_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving([(200, GOOD)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        async with client_of("http://model.invalid/v1") as client:
            assert await client.post(CHAT, ASK) == GOOD
    assert proxy.requests[0].host == "model.invalid"
