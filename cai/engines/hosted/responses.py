"""Engine over OpenAI's Responses API, POST /v1/responses.

As with Anthropic's (``anthropic.py``), only the form of questions and answers is translated here; keys,
limits, faults, money and the dialect are those of every server. Nothing is stored there (``store: false``).

What the API lacks (seeds, turns that go on) is declined as a server would decline it, without a request; a
stop is cut off here. It takes no limit below 16 tokens, so that a shorter answer may be as long.
Left out: streaming, images, tools, conversations that the service keeps, background.
Source: platform.openai.com/docs/api-reference/responses, and the types of the package ``openai`` 3.54.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cai.config.run_config import ModelConfig
from cai.engines.purse import Account
from cai.engines.server.client import JsonClient, Patience, Refused
from cai.engines.server.openai import OpenAIEngine
from cai.engines.server.parameters import LIMITS

Payload = dict[str, Any]

PATH = "/responses"
LEAST_TOKENS = 16  # of max_output_tokens
LOGPROBS = "message.output_text.logprobs"
_HIDDEN = "[not shown]"  # in the place of thought that is neither shown nor counted
_LACKS = {"seed": "has no seeds", "continue_final_message": "begins every answer anew"}
#: Fields of the API, where a refusal names them, as chat's.
_AS_CHAT = {
    "max_output_tokens": LIMITS[0],
    "include": "top_logprobs",
    "text": "response_format",
}


class ResponsesEngine(OpenAIEngine):
    """``engine.Engine`` over /v1/responses."""

    constraints = ("json_schema",)

    def __init__(
        self,
        config: ModelConfig,
        base_url: str,
        fingerprint: str,
        patience: Patience | None = None,
        account: Account | None = None,
    ) -> None:
        client = ResponsesClient(config, base_url, patience)
        super().__init__(config, base_url, fingerprint, patience, account, client=client)

    @staticmethod
    def thinking_ways(wanted: bool | int) -> Iterator[Payload]:
        """By effort, the one thing that the API has; numbers of tokens as other providers equate them."""
        if wanted is True:
            yield from ({}, {"reasoning": {"effort": "medium"}})
            return
        if wanted is False:
            efforts = ["none", "minimal", "low"]
        else:
            efforts = ["low" if wanted <= 1024 else "medium" if wanted <= 8192 else "high"]
        yield from ({"reasoning": {"effort": effort}} for effort in efforts)
        yield {}


class ResponsesClient(JsonClient):
    """Takes chat payloads and gives chat answers, with the Responses API between."""

    def wire(self, path: str, payload: Mapping[str, Any]) -> tuple[str, Payload]:
        """As ``JsonClient.wire``. ``path`` is the chat's and not used: the API has one."""
        return PATH, as_payload(payload)

    def heard(self, answer: dict[str, Any], payload: Mapping[str, Any]) -> Payload:
        return as_chat_answer(answer)

    def declined(self, refused: Refused) -> Refused:
        return as_chat_refusal(refused)


# --- Asking ---------------------------------------------------------------------------------


def as_payload(chat: Mapping[str, Any]) -> Payload:
    """A chat payload in the API's form; fields that are no chat's (``extra_body``) go as they are.

    Raises:
        Refused: a field that the API has no counterpart of.
    """
    for name, why in _LACKS.items():
        if name in chat:
            raise _declined(name, why)
    if any("prefix" in turn for turn in chat["messages"]):
        raise _declined("prefix", "begins every answer anew")
    sent = {"store": False, **chat}
    instructions, sent["input"] = _turns(sent.pop("messages"))
    if instructions:
        sent["instructions"] = instructions
    limits = [sent.pop(name) for name in LIMITS if name in sent]
    if limits:
        sent["max_output_tokens"] = max(limits[0], LEAST_TOKENS)
    sent.pop("stop", None)  # cut off here
    if sent.pop("logprobs", False):
        sent["include"] = [*sent.get("include", ()), LOGPROBS]
    if "reasoning_effort" in sent:
        sent["reasoning"] = {**sent.get("reasoning", {}), "effort": sent.pop("reasoning_effort")}
    if "response_format" in sent:
        form = sent.pop("response_format")["json_schema"]
        sent["text"] = {**sent.get("text", {}), "format": {"type": "json_schema", **form}}
    return sent


def _turns(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[Payload]]:
    """(instructions, the other turns): what the system says before anybody else, and the rest as it is."""
    first = next((n for n, turn in enumerate(messages) if turn["role"] not in ("system", "developer")), 0)
    instructions = "\n\n".join(turn["content"] for turn in messages[:first])
    return instructions, [{"role": turn["role"], "content": turn["content"]} for turn in messages[first:]]


def _declined(name: str, why: str) -> Refused:
    message = f"{name} is not supported: OpenAI's Responses API {why}"
    return Refused(400, {"error": {"message": message, "param": name}}, message)


def as_chat_refusal(refused: Refused) -> Refused:
    """The same refusal with the name of a chat's field for the API's (``text.format`` and the like)."""
    error = refused.body.get("error") if isinstance(refused.body, dict) else None
    param = error.get("param") if isinstance(error, dict) else None
    if not isinstance(param, str) or not isinstance(error, dict):
        return refused
    first = param.partition(".")[0].partition("[")[0]
    body = {"error": {**error, "param": _AS_CHAT.get(first, first)}}
    return type(refused)(refused.status, body, refused.message)


# --- Answers --------------------------------------------------------------------------------


def as_chat_answer(answer: Mapping[str, Any]) -> Payload:
    """A Response as a chat's answer, for ``reply.read_reply``."""
    output, usage = answer.get("output"), _usage(answer.get("usage"))
    if not isinstance(output, list):
        return {"usage": usage}  # no choices: it cannot be read
    items = [item for item in output if isinstance(item, Mapping)]
    details = usage.get("completion_tokens_details")
    counted = isinstance(details, Mapping) and isinstance(details.get("reasoning_tokens"), int)
    parts = [part for item in items for part in _parts(item, counted)]
    listed = [part["logprobs"] for part in parts if part.get("logprobs")]
    return {
        "id": answer.get("id"),
        "model": answer.get("model"),
        "choices": [
            {
                "message": {"role": "assistant", "content": parts or None},
                "finish_reason": _finish(answer),
                **({"logprobs": {"content": listed[0]}} if listed else {}),
            }
        ],
        "usage": usage,
    }


def _finish(answer: Mapping[str, Any]) -> str:
    """The end in a chat's words; the API's own word where chat has none."""
    status, details = answer.get("status"), answer.get("incomplete_details")
    if status == "completed":
        return "stop"
    reason = details.get("reason") if isinstance(details, Mapping) else None
    return {"max_output_tokens": "length"}.get(str(reason), str(reason or status))


def _parts(item: Mapping[str, Any], counted: bool) -> Iterator[Payload]:
    """The parts of a chat's content that an output item is. ``counted``: the usage counts thought."""
    kind, content = item.get("type"), item.get("content")
    inner = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    if kind == "reasoning":
        summary = item.get("summary")
        shown = inner or [part for part in summary or () if isinstance(part, Mapping)]
        words = "\n".join(str(part.get("text") or "") for part in shown).strip()
        if words or not counted:
            yield {"type": "thinking", "thinking": words or _HIDDEN}
    elif kind != "message":
        yield {"type": str(kind)}
    elif item.get("phase") == "commentary":  # said on the way to the answer, and no part of it
        yield {"type": "thinking", "thinking": "".join(str(part.get("text") or "") for part in inner)}
    else:
        yield from (dict(part) for part in inner)


def _usage(usage: Any) -> Payload:
    if not isinstance(usage, Mapping):
        return {}
    return {
        "prompt_tokens": usage.get("input_tokens"),
        "prompt_tokens_details": usage.get("input_tokens_details") or {},
        "completion_tokens": usage.get("output_tokens"),
        "completion_tokens_details": usage.get("output_tokens_details") or {},
    }
