"""OpenAI's Responses API, as its documentation and its SDK's types have it, refusals included."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
Answer = tuple[int, Any]

FIELDS = {
    *("model", "input", "instructions", "max_output_tokens", "temperature", "top_p", "top_logprobs"),
    *("include", "text", "reasoning", "store", "metadata", "service_tier", "truncation", "user"),
    *("prompt_cache_key", "safety_identifier", "parallel_tool_calls", "tools", "tool_choice"),
}
ROLES = {"user", "assistant", "system", "developer"}
EFFORTS = ("minimal", "low", "medium", "high")


def error(message: str, param: str | None = None, code: str | None = None) -> Answer:
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return 400, {"error": body}


def complaint(body: Body, reasons: bool) -> Answer | None:  # noqa: PLR0911, PLR0912
    """The refusal of ``body``, if it is to be refused. ``reasons``: the model is a reasoning one."""
    if extra := sorted(body.keys() - FIELDS):
        return error(f"Unknown parameter: '{extra[0]}'.", extra[0], "unknown_parameter")
    if not isinstance(body.get("input"), str | list) or not body["input"]:
        return error("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    for n, item in enumerate(body["input"]):
        if extra := sorted(item.keys() - {"role", "content", "type", "phase"}):
            name = f"input[{n}].{extra[0]}"
            return error(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
        if item["role"] not in ROLES:
            return error(f"Invalid value: '{item['role']}'.", f"input[{n}].role", "invalid_value")
    limit = body.get("max_output_tokens", 16)
    if limit < 16:
        text = (
            "Invalid 'max_output_tokens': integer below minimum value. "
            f"Expected a value >= 16, but got {limit} instead."
        )
        return error(text, "max_output_tokens", "integer_below_min_value")
    if not 0 <= body.get("temperature", 1) <= 2:
        return error("Invalid 'temperature': decimal above maximum value.", "temperature")
    form = body.get("text", {}).get("format", {"type": "text"})
    if form["type"] == "json_schema" and not form.get("name"):
        return error("Missing required parameter: 'text.format.name'.", "text.format.name")
    if reasons:
        for name in ("temperature", "top_p"):
            if name in body:
                text = f"Unsupported parameter: '{name}' is not supported with this model."
                return error(text, name)
        if "message.output_text.logprobs" in body.get("include", ()):
            return error("logprobs are not supported with reasoning models.", "include")
        effort = body.get("reasoning", {}).get("effort", "medium")
        if effort not in EFFORTS:
            text = (
                f"Unsupported value: '{effort}' is not supported with this model. "
                "Supported values are: 'minimal', 'low', 'medium', and 'high'."
            )
            return error(text, "reasoning.effort", "unsupported_value")
    elif "reasoning" in body:
        text = "Unsupported parameter: 'reasoning.effort' is not supported with this model."
        return error(text, "reasoning.effort", "unsupported_parameter")
    return None


def as_chat(body: Body) -> Body:
    """What the model behind it is asked."""
    messages = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    chat: Body = {
        "messages": [*messages, *body["input"]],
        "max_tokens": body.get("max_output_tokens", 4096),
        "temperature": body.get("temperature", 1.0),
        "reasoning_effort": body.get("reasoning", {}).get("effort"),
    }
    if "message.output_text.logprobs" in body.get("include", ()):
        chat |= {"logprobs": True, "top_logprobs": body.get("top_logprobs", 0)}
    form = body.get("text", {}).get("format", {})
    if form.get("type") == "json_schema":
        chat["response_format"] = {"type": "json_schema", "json_schema": form}
    return chat


def as_response(chat: Body, body: Body) -> Body:
    """The model's answer as a Response."""
    (choice,) = chat["choices"]
    usage = chat["usage"]
    thought = usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0)
    cut = choice["finish_reason"] == "length"
    output: list[Body] = [{"type": "reasoning", "id": "rs_1", "summary": []}] if thought else []
    if choice["message"]["content"] is not None:
        listed = (choice.get("logprobs") or {}).get("content") or []
        output.append(message(choice["message"]["content"], listed, "incomplete" if cut else "completed"))
    read, written = usage["prompt_tokens"], usage["completion_tokens"]
    return response(
        *output,
        status="incomplete" if cut else "completed",
        incomplete_details={"reason": "max_output_tokens"} if cut else None,
        temperature=body.get("temperature", 1.0),
        usage=counts(read, written, thought=thought),
    )


def message(text: str, logprobs: list[Body] | None = None, status: str = "completed", **more: Any) -> Body:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": status,
        "content": [part],
        **more,
    }


def counts(read: int = 3, written: int = 2, *, thought: int = 0, found: int = 0) -> Body:
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": found, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written,
    }


def response(*output: Body, **more: Any) -> Body:
    return {
        **{"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m-2026"},
        **{"output": list(output), "error": None, "incomplete_details": None, "instructions": None},
        **{"metadata": {}, "parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "tools": []},
        **{"tool_choice": "auto", "store": False, "usage": counts()},
        **more,
    }
