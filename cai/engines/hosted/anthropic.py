"""Engine over Anthropic's Messages API, POST /v1/messages.

What is asked and answered is put into the API's form and back here; everything else is what every server
gets: one shared back-off, one place for keys, faults and money, a dialect that is learned before the crowd
(``server/``). So the official SDK's client is not used: it has retries, keys and a connection pool of its
own, beside which limits and budgets would hold for neither. Its types are what the tests check against.

What the API lacks (seeds, other servers' ways of a prefill) is declined here as a server
would decline it, without a request, so that it is learned and told as of every server.
Left out: streaming, images, tools other than the one that names an option, prompt caching.
Source: docs.anthropic.com/en/api/messages, and the types of the package ``anthropic`` 2.14.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cai.config.run_config import ModelConfig
from cai.engines.engine import Form
from cai.engines.purse import Account
from cai.engines.server.client import JsonClient, Patience, Refused
from cai.engines.server.openai import OpenAIEngine
from cai.engines.server.parameters import LIMITS
from cai.values.errors import UsageError

Payload = dict[str, Any]

LEAST_THOUGHT = 1024  # tokens; the API takes no smaller budget
_A_CALL = 128  # tokens within which a tool's call with one short word has room
_HIDDEN = "[not shown]"  # in the place of thoughts that come encrypted or left out
_LACKS = {
    "seed": "has no seeds",
    "continue_final_message": "continues a last turn by itself",
    "structured_outputs": "has a form of its own",
    "guided_choice": "has a form of its own",
}


class AnthropicEngine(OpenAIEngine):
    """``engine.Engine`` over /v1/messages. ``choose`` raises NoLogprobsError: labels are sampled."""

    constraints = ("json_schema", "tool")

    def __init__(
        self,
        config: ModelConfig,
        base_url: str,
        fingerprint: str,
        patience: Patience | None = None,
        account: Account | None = None,
    ) -> None:
        """Raises UsageError: a budget of thought below the API's least."""
        if type(config.thinking) is int and config.thinking < LEAST_THOUGHT:
            raise UsageError(
                f"{config.name}: thinking: {config.thinking} is below the least of Anthropic's API: write at "
                f"least {LEAST_THOUGHT}, or thinking: false"
            )
        client = MessagesClient(config, base_url, patience)
        super().__init__(config, base_url, fingerprint, patience, account, client=client)

    async def forms(self, forms: Sequence[Form]) -> dict[Form, str]:
        """As ``OpenAIEngine.forms``; none is looked for of a question that no answer will come to."""
        found = await super().forms([form for form in forms if form != "choice"])
        return found | ({"choice": "words"} if "choice" in forms else {})

    async def require_logprobs(self) -> None:
        """Raises NoLogprobsError, without a request."""
        raise self._speaker.no_logprobs("Anthropic's Messages API has none")

    async def models(self) -> list[Any]:
        """The model's entry, under the name that was asked for; ``root`` is what an alias stands for."""
        entry = await self._client.glance(f"/v1/models/{quote(self.name, safe='')}")
        if not isinstance(entry.get("id"), str):
            return []
        return [{"id": self.name, "root": entry["id"], "context_length": entry.get("max_input_tokens")}]

    @property
    def _room_for_thought(self) -> int:
        return LEAST_THOUGHT if self._config.thinking is True else super()._room_for_thought

    @staticmethod
    def thinking_ways(wanted: bool | int) -> Iterator[Payload]:
        """Newer models choose for themselves how much (adaptive) and take no budget; older ones need it."""
        if wanted is False:
            yield {"thinking": {"type": "disabled"}}
            yield {}
            return
        adaptive: Payload = {"thinking": {"type": "adaptive"}}
        budget = LEAST_THOUGHT if wanted is True else wanted
        enabled: Payload = {"thinking": {"type": "enabled", "budget_tokens": budget}}
        yield from (adaptive, enabled) if wanted is True else (enabled, adaptive)


class MessagesClient(JsonClient):
    """Takes chat payloads and gives chat answers, with the Messages API between."""

    _told: frozenset[str] = frozenset()

    def wire(self, path: str, payload: Mapping[str, Any]) -> tuple[str, Payload]:
        """As ``JsonClient.wire``. ``path`` is the chat's and not used: the API has one."""
        sent = as_payload(payload)
        for what in changed(payload, sent):
            if what not in self._told:
                self._told |= {what}
                self._tell(f"{payload['model']} at {self.base_url} {what}")
        return "/v1/messages", sent

    def heard(self, answer: dict[str, Any], payload: Mapping[str, Any]) -> Payload:
        return as_chat_answer(answer, _cut_from_prefill(payload))


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
        raise _declined("prefix", "continues a last turn by itself")
    sent = dict(chat)
    system, sent["messages"] = _turns(sent["messages"])
    if system:
        sent["system"] = system
    sent["max_tokens"] = sent.pop(LIMITS[1], None) or sent["max_tokens"]
    _sample(sent)
    if "stop" in sent:
        stops = [text for text in sent.pop("stop") if text.strip()]  # others are cut off here
        if stops:
            sent["stop_sequences"] = stops
    if "response_format" in sent:
        schema = sent.pop("response_format")["json_schema"]["schema"]
        sent["output_config"] = {
            **sent.get("output_config", {}),
            "format": {"type": "json_schema", "schema": schema},
        }
    if "tool_choice" in sent:
        sent["max_tokens"] = max(sent["max_tokens"], _A_CALL)
    if thinks(sent):
        budget = sent["thinking"].get("budget_tokens", LEAST_THOUGHT)
        if sent["max_tokens"] <= budget:
            sent["max_tokens"] += budget
    return sent


def thinks(sent: Mapping[str, Any]) -> bool:
    thinking = sent.get("thinking")
    return isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")


def _sample(sent: Payload) -> None:
    """Temperature or top_p, as far as the API takes them."""
    top_p = sent.pop("top_p", 1.0)
    temperature = sent.get("temperature")
    if thinks(sent):
        sent.pop("temperature", None)  # must be 1, which is what it is unsaid
    elif temperature is not None:
        sent["temperature"] = min(temperature, 1.0)
    if top_p < 1.0 and not thinks(sent) and (temperature is None or temperature == 1.0):
        sent.pop("temperature", None)
        sent["top_p"] = top_p


def changed(chat: Mapping[str, Any], sent: Mapping[str, Any]) -> Iterator[str]:
    """In which respects samples are not those that were asked for, in words."""
    temperature, top_p = chat.get("temperature"), chat.get("top_p", 1.0)
    if temperature is not None and temperature != 1.0 and thinks(sent):
        yield f"thinks at a temperature of 1 alone ({temperature:g} was asked for): answers are drawn at 1"
    elif temperature is not None and temperature > 1.0:
        yield f"takes no temperature above 1 ({temperature:g} was asked for): answers are drawn at 1"
    if top_p != 1.0 and "top_p" not in sent:
        yield f"takes no top_p beside a temperature, or with thought ({top_p:g} was asked for)"


def _turns(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[Payload]]:
    """(system text, turns that alternate). A last answer that is to go on ends without blanks."""
    system = "\n\n".join(turn["content"] for turn in messages if turn["role"] in ("system", "developer"))
    turns: list[Payload] = []
    for turn in messages:
        if turn["role"] in ("system", "developer"):
            continue
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] += f"\n\n{turn['content']}"
        else:
            turns.append({"role": turn["role"], "content": turn["content"]})
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"] = turns[-1]["content"].rstrip()
        if not turns[-1]["content"]:
            turns.pop()
    return system, turns


def _cut_from_prefill(chat: Mapping[str, Any]) -> str:
    """The blanks at the end of the last answer, which the API does not take."""
    last = chat["messages"][-1]
    content = last["content"] if last["role"] == "assistant" else ""
    return content[len(content.rstrip()) :]


def _declined(name: str, why: str) -> Refused:
    message = f"{name} is not supported: Anthropic's Messages API {why}"
    return Refused(400, {"error": {"message": message, "param": name}}, message)


# --- Answers --------------------------------------------------------------------------------


def as_chat_answer(answer: Mapping[str, Any], blanks: str = "") -> Payload:
    """A Message as a chat's answer, for ``reply.read_reply``. ``blanks``: not to stand at its beginning."""
    if not isinstance(answer.get("content"), list):
        return {"usage": _usage(answer.get("usage"))}  # no choices: it cannot be read
    parts = [_part(block) for block in answer["content"]]
    first = next((part for part in parts if part.get("type") == "text"), None)
    if blanks and first is not None:
        first["text"] = first["text"].removeprefix(blanks)
    reason = answer.get("stop_reason")
    if reason == "tool_use" and any(part.get("called") for part in parts):
        reason = "stop"
    message: Payload = {"role": "assistant", "content": parts or None}
    if reason == "refusal":
        details = answer.get("stop_details")
        explained = details.get("explanation") or details.get("category") if details else None
        message["refusal"] = explained or "stop_reason is 'refusal'"
    return {
        "id": answer.get("id"),
        "model": answer.get("model"),
        "choices": [{"message": message, "finish_reason": reason}],
        "usage": _usage(answer.get("usage")),
    }


def _part(block: Any) -> Payload:
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind == "tool_use":
        return {"type": "text", "text": json.dumps(block.get("input")), "called": True}
    if kind == "thinking":
        return {"type": "thinking", "thinking": block.get("thinking") or _HIDDEN}
    if kind == "redacted_thinking":
        return {"type": "thinking", "thinking": _HIDDEN}
    if kind == "text":
        return {"type": "text", "text": str(block.get("text") or "")}
    return {"type": str(kind)}


def _usage(usage: Any) -> Payload:
    """Tokens read (those written to and read from a cache among them), written, and thought of the latter."""
    if not isinstance(usage, Mapping):
        return {}
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    read = [usage[name] for name in names if isinstance(usage.get(name), int)]
    details = usage.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, Mapping) else None
    return {
        **({"prompt_tokens": sum(read)} if read else {}),
        "prompt_tokens_details": {
            "cached_tokens": usage.get("cache_read_input_tokens") or 0,
            "cache_write_tokens": usage.get("cache_creation_input_tokens") or 0,
        },
        "completion_tokens": usage.get("output_tokens"),
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
