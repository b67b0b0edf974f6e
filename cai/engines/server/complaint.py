"""What a server's complaint says: its words and codes, in the forms that public servers give them.

OpenAI's and vLLM's ``{"error": {"message", "type", "code"}}``, the same as one string (Ollama) or in a
list (Gemini), FastAPI's ``detail``, Anthropic's, Azure's ``innererror``, OpenRouter's ``metadata``, pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. ``json`` is None where ``text`` is none; headers in any case."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


def message_of(response: Response) -> str:
    """The server's own words, at most 500 characters."""
    words = _words(_inner(response.json)) if response.json is not None else _plain(response.text)
    return (words or response.text.strip() or "no words")[:500]


def codes_of(body: Any) -> frozenset[str]:
    """``type``, ``code``, ``error_code``, ``status`` and ``reason`` of an error, in small letters."""
    found: set[str] = set()
    inner = _inner(body)
    whole = body[0] if isinstance(body, list) and body else body
    sources = [inner] + ([whole] if whole is not inner else [])
    if isinstance(inner, Mapping):
        details = inner.get("details")
        sources += [details] if isinstance(details, Mapping) else []
        sources += [one for one in (*(details if isinstance(details, list) else ()), inner.get("innererror"))]
    for source in sources:
        if isinstance(source, Mapping):
            for name in ("type", "code", "error_code", "status", "reason"):
                value = source.get(name)
                if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                    found.add(str(value).lower())
    return frozenset(found - {"error", "none"})


def _inner(body: Any) -> Any:
    """The error object of a body, in the forms that servers give it."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return body
    if body.get("error"):
        return body["error"]
    errors, choices = body.get("errors"), body.get("choices")
    if isinstance(errors, list) and errors:
        return errors[0]
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) and choices[0].get("error"):
        return choices[0]["error"]
    return body


def _words(error: Any) -> str:
    if isinstance(error, Mapping):
        for name in ("message", "Message", "detail", "msg", "error_description"):
            if error.get(name):
                words = _words(error[name])
                raw = error["metadata"].get("raw") if isinstance(error.get("metadata"), Mapping) else None
                return f"{words}: {raw}" if raw else words
        return str(dict(error)) if error else ""
    if isinstance(error, list):
        return "; ".join(_located(one) for one in error[:5])
    return str(error).strip()


def _located(one: Any) -> str:
    """One of FastAPI's complaints, with the field that it is about."""
    place = one.get("loc") if isinstance(one, Mapping) else None
    return f"{'.'.join(map(str, place))}: {_words(one)}" if isinstance(place, list) else _words(one)


def is_page(response: Response) -> bool:
    head = response.text.lstrip("\ufeff \r\n\t")[:200].lower()
    return head.startswith("<") and ("<html" in head or "<!doctype" in head or "text/html" in _kind(response))


def _kind(response: Response) -> str:
    return (response.headers.get("Content-Type") or response.headers.get("content-type") or "").lower()


def _plain(text: str) -> str:
    """What a page says, without its marks."""
    if not text.lstrip().startswith("<"):
        return text.strip()
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.I | re.S)
    words = title[1] if title else re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.I | re.S)
    return " ".join(words.split())
