"""How long a server asks to wait, in every public form. All waits are seconds from now.

Sources: RFC 9110 §10.2.3 (Retry-After); the headers that OpenAI (``x-ratelimit-reset-requests: 6m0s``),
Azure (``retry-after-ms``), Anthropic (``anthropic-ratelimit-*-reset``, RFC 3339) and OpenRouter
(``x-ratelimit-reset``, milliseconds of the epoch) document; google.rpc.RetryInfo in the body.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_OPENAI = tuple(
    (f"x-ratelimit-reset-{what}", f"x-ratelimit-remaining-{what}") for what in ("requests", "tokens")
)
_ANTHROPIC = tuple(
    (f"anthropic-ratelimit-{what}-reset", f"anthropic-ratelimit-{what}-remaining")
    for what in ("requests", "tokens", "input-tokens", "output-tokens")
)


def asked_wait(headers: Mapping[str, str], body: Any, now: datetime) -> float | None:
    """What a refusal asks for; None where it says nothing readable, or nothing above zero.

    ``headers``: of any case where the mapping takes any, else in small letters. ``now`` is aware.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    found = (
        None if milliseconds is None else milliseconds / 1000.0,
        seconds(headers.get("retry-after"), now),
        _in_body(body),
        _exhausted(headers, now),
        seconds(headers.get("x-ratelimit-reset"), now),
        seconds(headers.get("ratelimit-reset"), now),
    )
    return next((wait for wait in found if wait), None)


def seconds(value: str | None, now: datetime) -> float | None:
    """A number of seconds, a duration ("6m0s", "20ms") or a moment, as seconds from ``now``, at least 0."""
    text = (value or "").strip()
    number = _number(text)
    if number is not None:
        for epoch in (1e-3, 1.0):  # a moment in milliseconds, or in seconds: no wait is 30 years long
            if number * epoch > 1e9:
                return max(0.0, number * epoch - now.timestamp())
        return max(0.0, number)
    if text and _PART.sub("", text) == "":
        return sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
        except (ValueError, TypeError):
            continue
        return max(
            0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
        )
    return None


def _exhausted(headers: Mapping[str, str], now: datetime) -> float | None:
    """When the limit that is used up is filled again; the next one where none says that it is used up."""
    resets = [
        (seconds(headers.get(reset), now), headers.get(left, "").strip())
        for reset, left in (*_OPENAI, *_ANTHROPIC)
    ]
    waits = [(wait, left) for wait, left in resets if wait]
    empty = [wait for wait, left in waits if left == "0"]
    return max(empty) if empty else min((wait for wait, _ in waits), default=None)


def _in_body(body: Any) -> float | None:
    for detail in _details(body):
        delay = detail.get("retryDelay") if isinstance(detail, Mapping) else None
        if isinstance(delay, str) and _PART.sub("", delay) == "":
            return sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(delay))
    return None


def _details(body: Any) -> Iterable[Any]:
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    return details if isinstance(details, list) else ()


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
