"""What a server does with a question, asked so that only doing it gives the answer.

A status of 200 proves nothing: servers and proxies drop fields that they do not know. Two kinds of proof:

- Tokens of the prompt. A turn that is continued adds the tokens of its text and nothing else; one that was
  closed and followed by a new one adds an end and a heading as well. No model has to be able for this one.
- Text that nobody would begin an answer with: the rest of a word whose beginning is the prefill, with digits
  drawn for the occasion. Asked in three ways, where the tokens tell nothing.

What neither proves is not done: then the same is asked for in words.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cai.engines.server.reply import Reply, read_reply
from cai.values.errors import ItemError

Payload = dict[str, Any]
Ask = Callable[[Payload], Awaitable[Mapping[str, Any]]]
"""Sends a payload → the server's answer. Raises ItemError where the server declines it."""

_SPLIT = (("butter", "fly"), ("sun", "flower"), ("water", "fall"))
_THOUGHT = 2048  # tokens: room for the thought before a short answer
_UNITS = 12  # repetitions in a prefill whose tokens are counted

Prefilled = Literal["continued", "echoed", "words"]
_WAYS = ("continue_final_message", "prefix", "assistant")
PLAIN = "plain"  # given options are named in words
CONSTRAINTS = ("structured_outputs", "guided_choice", "json_schema")
AS_OBJECT = ("json_schema", "tool")  # of which the answer is an object that names the option


@dataclass(frozen=True, slots=True)
class Prefill:
    """How an answer's beginning is given. ``way``: of sending it; ``why`` it is in words, for the user.

    ``tokens``: of the prompt that proved it, where the server counts them.
    """

    form: Prefilled
    way: str = ""
    why: str = ""
    tokens: int | None = None


def continued(way: str, messages: Sequence[Mapping[str, Any]], prefill: str) -> Payload:
    """The fields that ask for ``prefill`` to be continued, in one of ``_WAYS``."""
    turn: Payload = {"role": "assistant", "content": prefill}
    if way == "prefix":
        turn["prefix"] = True
    fields: Payload = {"messages": [*messages, turn]}
    if way == "continue_final_message":
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    return fields


async def find_prefill(ask: Ask) -> Prefill:
    """The way in which this server continues a turn that was begun, by proof; else words."""
    reasons = []
    alone = await _prompt_tokens(ask, {"messages": [_user("Continue.")]})
    for way in _WAYS:
        try:
            proven, tokens = await _closed_or_continued(ask, way, alone)
            if proven is None:
                proven, tokens = await _continues_words(ask, way), None
            if proven:
                return Prefill(await _echoed_or_continued(ask, way), way, tokens=tokens)
            reasons.append(f"{way}: the turn is not continued")
        except ItemError as error:
            reasons.append(f"{way}: {error}")
    return Prefill("words", why="; ".join(reasons))


async def still_continues(ask: Ask, known: Prefill) -> bool:
    """Whether the prompt that proved ``known`` has as many tokens as it had: the same server, as it was."""
    if known.tokens is None:
        return False
    try:
        return await _prompt_tokens(ask, _counted(known.way, _UNITS)) == known.tokens
    except ItemError:
        return False


def _counted(way: str, units: int) -> Payload:
    return continued(way, [_user("Continue.")], "\n".join(["a"] * units))


async def _closed_or_continued(ask: Ask, way: str, alone: int | None) -> tuple[bool | None, int | None]:
    """Whether the prompt's tokens prove a continued turn (True) or a closed one (False); None: neither.

    And the tokens of the prompt that proves it. Of n lines of "a" each line but the last is two tokens in
    every tokenizer, whatever stands before it.
    """
    once, twice = [await _prompt_tokens(ask, _counted(way, n)) for n in (_UNITS, 2 * _UNITS)]
    if alone is None or once is None or twice is None or twice - once != 2 * _UNITS:
        return None, None
    beside = once - alone - (2 * _UNITS - 1)
    return (True if beside <= 0 else False if beside > 1 else None), once


async def _continues_words(ask: Ask, way: str) -> bool:
    for begun, rest in _SPLIT:
        code = secrets.randbelow(9000) + 1000
        task = _user(f"Write exactly this and nothing else: {begun}{rest}-{code}")
        reply = await _reply(ask, continued(way, [task], begun), 16)
        if reply.thinks or not reply.said.startswith(f"{rest}-{code}"):
            return False
    return True


async def _echoed_or_continued(ask: Ask, way: str) -> Prefilled:
    """Whether the server repeats the beginning before it goes on, as Mistral's does."""
    begun = f"The zebra {secrets.randbelow(9000) + 1000} says"
    reply = await _reply(ask, continued(way, [_user("What is 2 + 2? Answer with the number.")], begun), 16)
    if reply.thinks:
        raise ItemError("a thought stands between the beginning and the answer")
    return "echoed" if reply.said.startswith(begun) else "continued"


# --- An answer that is to be one of several -------------------------------------------------


def constrained(way: str, options: Sequence[str]) -> Payload:
    """The fields that make a server answer with one of ``options``: of ``CONSTRAINTS``, or a tool's call."""
    if way == "structured_outputs":
        return {"structured_outputs": {"choice": list(options)}}
    if way == "guided_choice":
        return {"guided_choice": list(options)}
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(options)}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    if way == "tool":
        tool = {"name": "answer", "description": "Gives your answer.", "input_schema": schema}
        return {"tools": [tool], "tool_choice": {"type": "tool", "name": "answer"}}
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        }
    }


def option_in(text: str) -> str:
    """The option in a reply that was constrained to a schema; ``text`` as it is where that is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    answer = found.get("answer") if isinstance(found, dict) else None
    return answer if isinstance(answer, str) else text


async def find_constraint(ask: Ask, ways: Sequence[str] = CONSTRAINTS) -> str:
    """The way, of ``ways``, in which this server keeps to given options, by proof; else ``PLAIN``.

    The task is to greet, so that no model would say either option by itself.
    """
    options = [f"{letters}{secrets.randbelow(90) + 10}" for letters in ("QX", "ZK")]
    for way in ways:
        fields = {"messages": [_user("Greet me warmly.")], **constrained(way, options)}
        try:
            reply = await _reply(ask, fields, 32)
            if reply.thinks and reply.finish == "length":
                reply = await _reply(ask, fields, 32 + _THOUGHT)
        except ItemError:
            continue
        if option_in(reply.text.strip()) in options:
            return way
    return PLAIN


# --- Thought --------------------------------------------------------------------------------


async def find_thinking(
    ask: Ask, wanted: bool | int, ways: Iterable[Payload] | None = None
) -> tuple[Payload, str]:
    """The fields that make the model think as ``wanted`` (off, on, tokens at most), and what they do not do.

    A server that ignores a field is told by whether a thought is seen.
    """
    question: Payload = {"messages": [_user("What is 17 times 3, minus 8? Answer with the number.")]}
    room = 512 + (wanted if wanted is not True else 1024)
    taken: Payload | None = None
    for fields in ways or thinking_fields(wanted):
        try:
            reply = await _reply(ask, question | fields, room)
        except ItemError:
            continue
        if reply.thinks == bool(wanted):
            return fields, ""
        taken = fields if taken is None else taken
    if wanted:
        return taken or {}, "shows no thought, however it is asked for"
    return taken or {}, "thinks all the same: it cannot be switched off by any field that is known"


def thinking_fields(wanted: bool | int) -> Iterator[Payload]:
    """vLLM's, SGLang's and llama.cpp's; OpenAI's and its kind; Anthropic's and DeepSeek's; OpenRouter's.

    An effort for a number of tokens: as Gemini's documentation equates them.
    """
    on = wanted is not False
    if wanted is True:
        yield {}
    elif on:
        yield {"thinking": {"type": "enabled", "budget_tokens": wanted}}
        yield {"reasoning": {"max_tokens": wanted}}
    budget = {"thinking_budget": wanted} if wanted is not True and on else {}
    yield {"chat_template_kwargs": {"enable_thinking": on, "thinking": on, **budget}}
    if not on:
        efforts = ["none", "minimal", "low"]
    elif wanted is True:
        efforts = ["medium"]
    else:
        efforts = ["low" if wanted <= 1024 else "medium" if wanted <= 8192 else "high"]
    for effort in efforts:
        yield {"reasoning_effort": effort}
    yield {"thinking": {"type": "enabled" if on else "disabled"}}
    yield {"reasoning": {"enabled": on}}
    yield {}


def _user(text: str) -> Payload:
    return {"role": "user", "content": text}


async def _reply(ask: Ask, fields: Payload, max_tokens: int) -> Reply:
    return read_reply(await ask({**fields, "temperature": 0.0, "max_tokens": max_tokens}))


async def _prompt_tokens(ask: Ask, fields: Payload) -> int | None:
    """How many tokens the server says that the prompt has; None where it does not say."""
    answer = await ask({**fields, "temperature": 0.0, "max_tokens": 1})
    usage = answer.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) and count > 0 else None
