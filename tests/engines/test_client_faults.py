"""Every class of fault, in the forms in which public servers give it, through a real server on loopback."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from client_stub import ASK, CHAT, GOOD, QUICK, client_of, error, serving

from cai.engines.server.client import Moderated, Refused, TooLong
from cai.engines.server.faults import Missing
from cai.values.errors import EngineError, ItemError, UsageError

PAGE = "<!doctype html><html><head><title>Sign in</title></head><body>Please log in</body></html>"


async def asked(*script: Any) -> tuple[Any, int]:
    """What comes of one request, and how often it was sent."""
    async with serving(list(script)) as stub, client_of(stub.url) as client:
        try:
            return await client.post(CHAT, ASK), len(stub.bodies)
        except Exception as raised:
            return raised, len(stub.bodies)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, error("Incorrect API key provided", code="invalid_api_key")), "refuses the key"),
        ((400, [error("API key not valid. Please pass a valid API key.", code=400)]), "refuses the key"),
        ((402, error("Insufficient Balance")), "wants money"),
        ((429, error("You exceeded your current quota", code="insufficient_quota")), "wants money"),
        ((400, error("Your credit balance is too low to access the API")), "wants money.*add credit"),
        ((200, error("Insufficient credits", code=402)), "wants money"),
        ((403, error("Country not supported", code="unsupported_country")), "does not allow this"),
        ((404, error("The model `m` does not exist", code="model_not_found")), "no such model or path"),
        ((404, {"detail": "Not Found"}), "no such model or path.*Not Found.*/v1"),
        ((400, error("Invalid model: m", code="1500")), "no such model"),
        ((400, error("Model Not Exist")), "no such model"),
        ((405, {"detail": "Method Not Allowed"}), "takes no such request.*base_url"),
        ((302, "", {"Location": "https://sso.example.com/login?token=abc"}), "elsewhere.*login"),
        ((200, PAGE, {"Content-Type": "text/html"}), "web page, 'Sign in'.*base_url"),
        ((403, PAGE), "does not allow this.*web page"),
        ((400, "Client sent an HTTP request to an HTTPS server.\n"), "write https://"),
        ((400, "<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>"), "https://"),
    ],
)
async def test_what_no_item_escapes_ends_the_run_at_once(answer: Any, words: str) -> None:
    raised, sent = await asked(answer)
    assert type(raised) in (EngineError, Missing)
    with pytest.raises(EngineError, match=f"(?s){words}"):
        raise raised
    assert sent == 1
    assert "token=abc" not in str(raised)


MODERATED = [
    (400, error("The response was filtered due to the prompt triggering policy", code="content_filter")),
    (
        403,
        {
            "error": {
                "code": 403,
                "message": "Your chosen model requires moderation and your input was flagged",
            }
        },
    ),
    (400, error("Data may contain inappropriate content.", code="data_inspection_failed")),
    (
        400,
        {
            "error": {
                "code": "invalid_prompt",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
                "message": "-",
            }
        },
    ),
    (200, error("Blocked", code="content_filter")),
]
TOO_LONG = [
    (400, error("This model's maximum context length is 10 tokens", code="context_length_exceeded")),
    (400, error("prompt is too long: 250000 tokens > 200000 maximum", type="invalid_request_error")),
    (400, error("the request exceeds the available context size", type="exceed_context_size_error")),
    (400, error("The input token count (9) exceeds the maximum number of tokens allowed (8).", code=400)),
    (413, error("Request exceeds the maximum size", type="request_too_large")),
    (
        422,
        {
            "error": "Input validation error: `inputs` must have less than 1024 tokens",
            "error_type": "validation",
        },
    ),
    (
        429,
        error(
            "Request too large for m on tokens per min (TPM): Limit 10, Requested 20",
            code="rate_limit_exceeded",
        ),
    ),
    (200, error("too long", code="context_length_exceeded")),
]


@pytest.mark.parametrize(
    ("kind", "answer"), [(Moderated, one) for one in MODERATED] + [(TooLong, one) for one in TOO_LONG]
)
async def test_what_is_wrong_with_one_item_is_that_items(kind: type[Refused], answer: Any) -> None:
    raised, sent = await asked(answer)
    assert type(raised) is kind
    assert sent == 1
    assert "KEY" not in str(raised)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((400, error("Unsupported parameter: 'max_tokens'", param="max_tokens")), "Unsupported parameter"),
        (
            (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
            "body.seed: Extra",
        ),
        ((400, {"error": "unknown field"}), "unknown field"),
        ((400, {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}), "bad"),
        ((404, error("No endpoints found that support the parameter logprobs")), "No endpoints"),
        ((400, error("Provider returned error", metadata={"raw": "top_k is bad"})), "Provider.*top_k is bad"),
        ((418, "short and stout"), "short and stout"),
        ((200, error("max_tokens: too small", code="invalid_request_error")), "too small"),
    ],
)
async def test_a_refused_form_is_told_with_its_words_and_body(answer: Any, words: str) -> None:
    raised, sent = await asked(answer)
    assert type(raised) is Refused
    with pytest.raises(Refused, match=words):
        raise raised
    assert raised.message == str(raised)
    assert raised.body == answer[1]
    assert sent == 1


PASSING = [
    *((status, error("busy")) for status in (408, 409, 425, 429, 500, 502, 503, 504, *range(520, 530))),
    (503, PAGE),
    (200, '{"choices": [{"mess'),
    (200, ""),
    (200, error("Rate limited", code=429)),
    (200, error("Overloaded", type="overloaded_error")),
    (200, error("Upstream failed")),
    (200, {"error": "internal"}),
    (200, {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "upstream"}}]}),
    (200, [error("Resource exhausted", code=429, status="RESOURCE_EXHAUSTED")]),
    None,
]


@pytest.mark.parametrize("trouble", PASSING)
async def test_what_may_pass_is_asked_again(trouble: Any) -> None:
    answer, sent = await asked(trouble, trouble, (200, GOOD))
    assert answer == GOOD
    assert sent == 3


@pytest.mark.parametrize("trouble", PASSING)
async def test_a_server_that_never_answers_well_is_given_up_with_words(trouble: Any) -> None:
    raised, sent = await asked(trouble)
    assert isinstance(raised, EngineError | ItemError)
    assert sent == QUICK.attempts
    assert "KEY" not in str(raised)


async def test_errors_of_500_at_a_server_that_never_answered_become_the_servers() -> None:
    """A few may be the items' own; a data set that is quarantined whole would be a verdict by absence."""
    async with serving([(500, error("boom"))]) as stub, client_of(stub.url) as client:
        raised = await asyncio.gather(*(client.post(CHAT, ASK) for _ in range(8)), return_exceptions=True)
    assert [type(one) for one in raised].count(EngineError) == 4
    assert any("500 every time" in str(one) for one in raised)


async def test_a_maintenance_page_of_a_server_that_has_answered_is_waited_for() -> None:
    async with (
        serving([(200, GOOD), (200, PAGE), (200, PAGE), (200, GOOD)]) as stub,
        client_of(stub.url) as client,
    ):
        assert [await client.post(CHAT, ASK) for _ in range(2)] == [GOOD, GOOD]
        assert len(stub.bodies) == 4


async def raised_at(url: str, **settings: Any) -> Exception:
    with pytest.raises((EngineError, UsageError)) as caught:
        async with client_of(url, **settings) as client:
            await client.post(CHAT, ASK)
    return caught.value


async def test_nobody_listens(unused_tcp_port: int) -> None:
    raised = await raised_at(f"http://127.0.0.1:{unused_tcp_port}/v1")
    assert "connection refused" in str(raised)
    assert f"127.0.0.1:{unused_tcp_port}" in str(raised)
    assert "OPENAI_BASE_URL" in str(raised)


async def test_a_name_that_nobody_knows() -> None:
    raised = await raised_at("http://no-such-host.invalid:8000/v1")
    assert "no-such-host.invalid is unknown (DNS)" in str(raised)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000/v1", "no scheme: write http://localhost:8000/v1"),
        ("ftp://host/v1", "none of http"),
        ("http://host:port/v1", "cannot be read"),
        ("http:///v1", "none of http"),
    ],
)
async def test_an_address_that_is_none(url: str, words: str) -> None:
    assert words in str(await raised_at(url))


async def test_https_to_an_http_port() -> None:
    async with serving([(200, GOOD)]) as stub:
        raised = await raised_at(stub.url.replace("http:", "https:"))
    assert "speaks http, not https: write http://" in str(raised)


async def test_http_to_an_https_port_and_a_certificate_that_nobody_trusts(tmp_path: Path) -> None:
    async with serving([(200, GOOD)], ssl=_tls(tmp_path)) as stub:
        plain = await raised_at(stub.url.replace("https:", "http:"))
        distrusted = await raised_at(stub.url)
    assert "write https://" in str(plain)
    assert "certificate that is not trusted (self-signed certificate)" in str(distrusted)
    assert "SSL_CERT_FILE" in str(distrusted)


async def test_what_is_beside_the_questions_is_looked_at_once() -> None:
    async with serving([(500, error("boom"))]) as stub, client_of(stub.url) as client:
        assert await client.glance("/models") == {}
        assert len(stub.bodies) == 1
        stub.script = [(200, {"data": []})]
        assert await client.glance("/models") == {"data": []}
        stub.script = [(200, PAGE)]
        assert await client.glance("/models") == {}
    async with client_of(stub.url) as client:  # nobody is there any more
        assert await client.glance("/models") == {}


def _tls(folder: Path) -> ssl.SSLContext:
    """A context with a certificate that it has signed itself."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).sign(
        key, hashes.SHA256()
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
