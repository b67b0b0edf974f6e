"""Which parameters a server takes, learned from its refusals: a frozen ``Dialect`` and ``learned``.

Refusals name a parameter in ``error.param``, in pydantic's ``loc``, or in words. Each lesson changes one
thing; none is learned from a refusal of the item itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Payload = dict[str, Any]

TOP = (20, 10, 5, 3, 2)  # alternatives to ask for, as far as a server gives them
LIMITS = ("max_tokens", "max_completion_tokens")
# What may be left out. Of the first group, answers change; those who ask are told.
_CHANGING = ("temperature", "top_p", "seed")
_DROPPED = (*_CHANGING, "stop")
_LOGPROBS = ("top_logprobs", "logprobs")
_FORMS = (
    *("continue_final_message", "add_generation_prompt", "prefix", "response_format", "structured_outputs"),
    *("guided_choice", "chat_template_kwargs", "reasoning_effort", "reasoning", "thinking"),
)
_NAMES = (*LIMITS, *_DROPPED, *_LOGPROBS, *_FORMS, "return_tokens_as_token_ids")

#: Faults of the item, in whichever parameter's name they are told.
_ITEM = re.compile(
    r"context.{0,12}(length|window|size)|maximum context|too (long|many tokens)|reduce the length"
    r"|is too large|exceeds? the (max|limit|model)",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    r"not.{0,20}(support|permit|allow|enabl|recogni|accept|implement|available)|(un|never )support"
    r"|unrecogni[sz]ed|unknown|unexpected|invalid|cannot|can't|extra|forbidden|deprecated|only the default"
    r"|(doesn't|does not) (support|accept)|instead|remove|must|out of range|greater than|less than|at most",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What this server and model take.

    ``limit``: what it calls the most tokens to draw. ``dropped``: parameters that are left out. ``top``: how
    many alternatives it lists at most; 0: it gives no log-probabilities, ``why``. ``counted``: it wants that
    number as ``logprobs`` itself. ``named``: it must be told to give tokens as text.
    """

    limit: str = LIMITS[0]
    dropped: frozenset[str] = frozenset()
    top: int = TOP[0]
    why: str = ""
    counted: bool = False
    named: bool = False

    def spoken(self, payload: Payload) -> Payload:
        """``payload``, which is written with ``max_tokens`` and ``top_logprobs``, in this dialect."""
        sent = {name: value for name, value in payload.items() if name not in self.dropped}
        if LIMITS[0] in sent:
            sent[self.limit] = sent.pop(LIMITS[0])
        if "top_logprobs" in sent:
            sent["top_logprobs"] = min(sent["top_logprobs"], self.top)
            if self.counted:
                sent["logprobs"] = sent.pop("top_logprobs")
            if self.named:
                sent["return_tokens_as_token_ids"] = False
        return sent


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server said when it declined a request: its message, and the fields that it names."""

    message: str
    fields: tuple[str, ...] = ()

    @property
    def of_the_item(self) -> bool:
        return bool(_ITEM.search(self.message))

    def names(self, sent: Payload) -> list[str]:
        """The parameters of ``sent`` that are refused, most surely named first."""
        structured = [name for field in self.fields for name in sent if field.split(".")[0] == name]
        if structured:
            return list(dict.fromkeys(structured))
        if not _UNKNOWN.search(self.message):
            return []
        known = sorted({*_NAMES, *sent} - {"model", "messages"}, key=len, reverse=True)
        words = re.findall("|".join(rf"\b{re.escape(name)}\b" for name in known), self.message)
        spaced = self.message.casefold().replace(" ", "_")
        named = [name for name in dict.fromkeys(words) if name in sent]
        return named or [name for name in known if name in sent and name in spaced and len(name) > 5]


def refusal_of(message: str, body: Any) -> Refusal:
    """``body``: the answer's JSON, or its text."""
    return Refusal(message, tuple(dict.fromkeys(_fields(body))))


def learned(dialect: Dialect, sent: Payload, refusal: Refusal) -> Dialect | None:
    """The dialect after this refusal of ``sent``; None where it teaches nothing about parameters."""
    if refusal.of_the_item and not refusal.fields:
        return None
    names = refusal.names(sent)
    message = refusal.message
    if {"temperature", "top_p"} <= set(names) or (
        "top_p" in sent and re.search(r"temperature.{0,12}(and|with).{0,12}top_p", message)
    ):
        names = ["top_p"]  # not both: the temperature says more
    for name in names:
        if name in LIMITS:
            other = LIMITS[1 - LIMITS.index(name)]
            if name == dialect.limit == LIMITS[0] and not refusal.of_the_item:
                return replace(dialect, limit=other)
        elif name in _DROPPED:
            return replace(dialect, dropped=dialect.dropped | {name})
        elif name in _LOGPROBS:
            return _fewer(dialect, sent, message)
        elif name == "return_tokens_as_token_ids":
            return replace(dialect, named=False)
    return None


def changes(before: Dialect, after: Dialect, payload: Payload) -> Iterator[str]:
    """What a lesson means for answers, in words; nothing where it means nothing."""
    for name in after.dropped - before.dropped:
        value = payload.get(name)
        if name == "temperature" and value == 0:
            yield "takes no temperature: what was to be its most probable answer is drawn at random"
        elif name == "temperature":
            yield f"takes no temperature ({value} was asked for): answers are drawn at its own"
        elif name == "top_p" and value != 1.0:
            yield f"takes no top_p here ({value} was asked for)"
        elif name == "seed":
            yield "takes no seed: the same question asked anew may get another answer"


def _fewer(dialect: Dialect, sent: Payload, message: str) -> Dialect | None:
    """Fewer alternatives, another form of asking for them, or none at all."""
    if not dialect.counted and sent.get("logprobs") is True and re.search(r"\b(int|number)", message):
        return replace(dialect, counted=True)
    asked = sent.get("top_logprobs", sent.get("logprobs"))
    numbers = [int(n) for n in re.findall(r"(?<![\w.])\d{1,2}(?![\w.]*\d)", message)]
    fewer = [n for n in numbers if isinstance(asked, int) and 1 < n < asked]
    if fewer:
        return replace(dialect, top=max(fewer))
    limited = re.search(r"at most|between|range|less|max|exceed|greater|too|<=|≤", message, re.IGNORECASE)
    lower = [n for n in TOP if n < dialect.top]
    if limited and lower:
        return replace(dialect, top=lower[0])
    return replace(dialect, top=0, why=message) if dialect.top else None


def _fields(body: Any) -> Iterator[str]:
    """Every field that an error's structure names: ``param`` of OpenAI's form, ``loc`` of pydantic's."""
    if isinstance(body, Mapping):
        param = body.get("param")
        if isinstance(param, str) and param not in ("", "None"):
            yield param
        loc = body.get("loc")
        if isinstance(loc, list | tuple):
            yield ".".join(str(part) for part in loc if part != "body")
        for value in body.values():
            yield from _fields(value)
    elif isinstance(body, list | tuple):
        for one in body:
            yield from _fields(one)
    elif isinstance(body, str):  # JSON in JSON, or Python's spelling of it
        for loc in re.findall(r"""\\*["']loc\\*["']\s*:\s*[\[(]([^\])]*)[\])]""", body):
            parts = re.findall(r"[\w-]+", loc)
            yield ".".join(part for part in parts if part != "body")
