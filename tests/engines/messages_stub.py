"""Anthropic's Messages API on loopback, as its documentation and its SDK's types have it, refusals included.

``Claude(new=True)`` is of the newer kind: no sampling parameters, no prefill, thinking adaptive alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Body = dict[str, Any]
Answer = tuple[int, Any]

FIELDS = {
    *("model", "messages", "max_tokens", "system", "stop_sequences", "thinking", "output_config", "tools"),
    *("tool_choice", "metadata", "service_tier", "temperature", "top_p", "top_k", "stream"),
}


def error(status: int, kind: str, message: str) -> Answer:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return status, body


def message(*blocks: Body, stop: str = "end_turn", **usage: int) -> Answer:
    return 200, {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-20260101"},
        **{"content": list(blocks), "stop_reason": stop, "stop_sequence": None},
        "usage": {"input_tokens": 3, "output_tokens": 2, **usage},
    }


def text(words: str) -> Body:
    return {"type": "text", "text": words, "citations": None}


def thought(words: str) -> Body:
    return {"type": "thinking", "thinking": words, "signature": "c2ln"}


@dataclass
class Claude:
    """A model behind the API. ``says``: its text, from the body; ``schemas``: takes output_config.format."""

    says: Callable[[Body], str] = lambda body: "Hi."
    new: bool = False
    schemas: bool = True
    tools: bool = True
    bodies: list[Body] = field(default_factory=list)

    def __call__(self, body: Body) -> Answer:
        if not body:  # GET /v1/models/{model}
            return 200, {"type": "model", "id": "claude-x-20260101", "max_input_tokens": 200_000}
        self.bodies.append(body)
        if complaint := self._complaint(body):
            return error(400, "invalid_request_error", complaint)
        thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        before = [thought("Let me see."), {"type": "redacted_thinking", "data": "eA=="}] if thinks else []
        if "format" in body.get("output_config", {}):
            options = body["output_config"]["format"]["schema"]["properties"]["answer"]["enum"]
            return message(*before, text(json.dumps({"answer": self._option(body, options)})))
        if body.get("tool_choice", {}).get("type") == "tool":
            options = body["tools"][0]["input_schema"]["properties"]["answer"]["enum"]
            call = {"type": "tool_use", "id": "toolu_1", "name": "answer", "caller": {"type": "direct"}}
            return message(
                *before, {**call, "input": {"answer": self._option(body, options)}}, stop="tool_use"
            )
        return message(*before, text(self.says(body)))

    def _option(self, body: Body, options: list[str]) -> str:
        said = self.says(body)
        return said if said in options else options[0]

    def _complaint(self, body: Body) -> str:
        thinking = body.get("thinking", {"type": "disabled"})
        last = body["messages"][-1]
        roles = [turn["role"] for turn in body["messages"]]
        budget = thinking.get("budget_tokens", 0)
        manual = thinking["type"] == "enabled"
        on = manual or thinking["type"] == "adaptive"
        for wrong, words in (
            (bool(extra := sorted(body.keys() - FIELDS)), f"{extra}: Extra inputs are not permitted"),
            (self.new and "temperature" in body, "`temperature` is deprecated for this model."),
            (self.new and "top_p" in body, "`top_p` is deprecated for this model."),
            (not isinstance(body.get("max_tokens"), int), "max_tokens: Field required"),
            (body.get("max_tokens", 1) < 1, "max_tokens: Input should be greater than or equal to 1"),
            (
                not 0 <= body.get("temperature", 1.0) <= 1,
                "temperature: Input should be less than or equal to 1",
            ),
            (
                {"temperature", "top_p"} <= body.keys(),
                "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
            ),
            (
                any(not stop.strip() for stop in body.get("stop_sequences", [])),
                "stop_sequences: each stop sequence must contain non-whitespace",
            ),
            (
                not set(roles) <= {"user", "assistant"},
                "messages: Unexpected role. The Messages API accepts a top-level `system` parameter",
            ),
            (roles[0] != "user", "messages: first message must use the user role"),
            (any(a == b for a, b in pairwise(roles)), "messages: roles must alternate"),
            (
                not all(turn["content"].strip() for turn in body["messages"]),
                "messages: text content blocks must be non-empty",
            ),
            (
                manual and self.new,
                "`thinking.type: enabled` is not supported by this model; use `thinking.type: adaptive`",
            ),
            (
                thinking["type"] == "adaptive" and not self.new,
                "adaptive thinking is not supported on this model",
            ),
            (
                manual and budget < 1024,
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            ),
            (
                manual and body["max_tokens"] <= budget,
                "`max_tokens` must be greater than `thinking.budget_tokens`.",
            ),
            (
                on and body.get("temperature", 1.0) != 1.0,
                "`temperature` may only be set to 1 when thinking is enabled.",
            ),
            (
                on and "tool_choice" in body,
                "Thinking may not be enabled when tool_choice forces tool use.",
            ),
            (
                last["role"] == "assistant" and (self.new or on),
                "This model does not support assistant message prefill. "
                "The conversation must end with a user message.",
            ),
            (
                last["role"] == "assistant" and last["content"] != last["content"].rstrip(),
                "messages: final assistant content cannot end with trailing whitespace",
            ),
            (
                "format" in body.get("output_config", {}) and not self.schemas,
                "'claude-x' does not support output format.",
            ),
            ("tools" in body and not self.tools, "'claude-x' does not support tools."),
        ):
            if wrong:
                return words
        return ""
