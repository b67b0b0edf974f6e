# ruff: noqa: E501 (wordings as they come)
"""One lesson from one refusal, in the words of many providers; none from a fault of the item."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cai.engines.server.parameters import Dialect, changes, learned, refusal_of

PLAIN = Dialect()
SENT = {
    "model": "m",
    "messages": [],
    **{"temperature": 0.7, "top_p": 1.0, "seed": 5, "max_tokens": 16, "stop": ["END"]},
}
ASKED = {
    "model": "m",
    "messages": [],
    "max_tokens": 1,
    "temperature": 1.0,
    "logprobs": True,
    "top_logprobs": 20,
}


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def lesson(body: Any, sent: dict[str, Any] = SENT, dialect: Dialect = PLAIN) -> Dialect | None:
    """From a body as servers send it; the message is found as the client finds it."""
    one = body[0] if isinstance(body, list) else body
    inner = one.get("error", one)
    message = inner if isinstance(inner, str) else inner.get("message", str(inner))
    return learned(dialect, sent, refusal_of(message, body))


def detail(name: str) -> list[dict[str, Any]]:
    return [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]


DROPPED = [
    ("temperature", error("Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.", param="temperature", code="unsupported_value")),
    ("temperature", error("`temperature` is deprecated for this model.", type="invalid_request_error")),
    ("top_p", error("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")),
    ("top_p", error("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p")),
    ("seed", {"object": "error", "message": json.dumps({"detail": detail("seed")}), "code": "1000"}),
    ("seed", {"detail": detail("seed")}),
    ("seed", {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]"}),
    ("seed", [error('Invalid JSON payload received. Unknown name "seed": Cannot find field.', status="INVALID_ARGUMENT")]),
    ("seed", {"message": "Malformed input request: #: extraneous key [seed] is not permitted, please reformat"}),
    ("seed", error("litellm.UnsupportedParamsError: bedrock does not support parameters: ['seed'], for model=m. To drop these, set `litellm.drop_params=True`", param="None", code="400")),
    ("seed", error("Unrecognized request argument supplied: seed", param=None)),
    ("seed", {"error": 'json: unknown field "seed"'}),
    ("stop", {"error": "Argument not supported on this model: stop"}),
    ("stop", error("Unsupported parameter: 'stop' is not supported with this model.", param="stop")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), DROPPED)
def test_one_parameter_is_left_out(name: str, body: Any) -> None:
    after = lesson(body)
    assert after is not None
    assert after.dropped == {name}
    assert name not in after.spoken(SENT)


@pytest.mark.parametrize(
    "body",
    [
        error("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", param="max_tokens", code="unsupported_parameter"),
        error("use max_completion_tokens instead of max_tokens"),
    ],
)  # fmt: skip
def test_the_other_name_of_the_limit(body: Any) -> None:
    after = lesson(body)
    assert after is not None
    assert after.spoken(SENT)["max_completion_tokens"] == 16
    assert "max_tokens" not in after.spoken(SENT)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 4200 tokens (3900 in the messages, 300 in the completion). Please reduce the length of the messages or completion.",
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 512 tokens",
        "max_tokens is too large: 32000. This model supports at most 16384 completion tokens",
        "messages: text content blocks must be non-empty",
        "The server is busy",
        "Please keep the temperature in the room in mind",
    ],
)  # fmt: skip
def test_a_fault_of_the_item_teaches_nothing(message: str) -> None:
    assert lesson(error(message)) is None


@pytest.mark.parametrize(
    ("message", "top"),
    [
        ("top_logprobs must be at most 5", 5),
        ("Invalid value for 'top_logprobs': must be less than or equal to 8.", 8),
        ("Invalid top_logprobs value, the valid range of top_logprobs is [0, 5]", 5),
        ("top_logprobs: out of range", 10),
        ("Requested sample logprobs of 20, which is greater than max allowed: 3 (top_logprobs)", 3),
        ("`logprobs` is not supported with this model", 0),
        ("Logprobs is not enabled for models/gemini-2.5-pro", 0),
        ("deepseek-reasoner does not support logprobs", 0),
        ("You are not allowed to request logprobs from this model", 0),
        ("Gaudi doesn't support logprobs. Please remove 'logprobs'/'top_logprobs' from your request", 0),
    ],
)
def test_how_many_alternatives(message: str, top: int) -> None:
    after = lesson(error(message), ASKED)
    assert after is not None
    assert after.top == top
    assert bool(after.why) == (top == 0)


def test_a_number_in_the_place_of_a_flag() -> None:
    after = lesson(
        error("Input validation error: logprobs must be an integer between 0 and 5", param="logprobs"), ASKED
    )
    assert after is not None
    assert after.spoken(ASKED)["logprobs"] == 20
    assert "top_logprobs" not in after.spoken(ASKED)
    again = lesson(error("logprobs must be an integer between 0 and 5"), after.spoken(ASKED), after)
    assert again is not None
    assert again.spoken(ASKED)["logprobs"] == 5


def test_lessons_end() -> None:
    """A server that refuses everything is not asked for ever."""
    dialect, steps = PLAIN, 0
    while (after := lesson(error("logprobs: must be less"), dialect.spoken(ASKED), dialect)) is not None:
        assert after != dialect
        dialect, steps = after, steps + 1
    assert dialect.top == 0
    assert steps < 10


def test_what_changes_answers_is_told_and_what_does_not_is_not() -> None:
    def told(name: str, **asked: Any) -> list[str]:
        return list(changes(PLAIN, Dialect(dropped=frozenset({name})), {**SENT, **asked}))

    assert "0.7 was asked for" in told("temperature")[0]
    assert "drawn at random" in told("temperature", temperature=0)[0]
    assert told("top_p") == []
    assert "0.9" in told("top_p", top_p=0.9)[0]
    assert "another answer" in told("seed")[0]
    assert told("stop") == []


def test_a_fault_of_the_item_teaches_nothing_though_it_names_a_parameter() -> None:
    sent = {"messages": [], "max_tokens": 8, "seed": 1, "stop": ["x"]}
    message = "maximum context length is 4096 tokens: the prompt cannot be used with this stop and seed"
    assert learned(Dialect(), sent, refusal_of(message, message)) is None
    assert learned(Dialect(), sent, refusal_of("seed is not supported", "")) is not None
