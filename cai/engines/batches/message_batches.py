"""Anthropic's Message Batches: one request makes a batch, one file has its results.

The API gives a batch no word of ours, so that one of which nobody knows whether it was made is looked for by
its time and size, and known by the names in its results.
Sources: docs.anthropic.com/en/docs/build-with-claude/batch-processing, /en/api/creating-message-batches; the
types of the package ``anthropic`` 2.12.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cai.engines.batches.service import EXPIRED, UNANSWERED, Arrived, Row, State, asked, cancelled
from cai.engines.server.client import Call, JsonClient
from cai.engines.server.complaint import Response
from cai.run.pending import Batch

PATH = "/v1/messages/batches"
_PAGE = 100  # batches in a list
_CLOCKS = 600.0  # seconds by which two clocks may differ
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class MessageBatches:
    """``service.Service`` over /v1/messages/batches."""

    most_rows = 100_000
    most_bytes = 256_000_000
    exact = False

    def __init__(self, client: JsonClient):
        self._client = client

    def line(self, name: str, path: str, body: Mapping[str, Any]) -> bytes:
        return json.dumps({"custom_id": name, "params": body}).encode() + b","

    async def upload(self, rows: Sequence[Row]) -> str:
        return ""

    async def create(self, batch: Batch, rows: Sequence[Row], known: set[str]) -> str:
        body = b'{"requests":[' + b"".join(row.line for row in rows)[:-1] + b"]}"

        async def instead() -> dict[str, Any] | None:
            return {"id": ""} if await self.find(batch, known) else None

        call = Call("POST", PATH, body, large=True)
        made = await asked(self._client, call, "make a batch", instead)
        return str(made.get("id") or "")

    async def find(self, batch: Batch, known: set[str]) -> list[str]:
        found: list[str] = []
        after, since = "", batch.created - _CLOCKS
        while True:
            path = f"{PATH}?limit={_PAGE}" + (f"&after_id={after}" if after else "")
            page = await asked(self._client, Call("GET", path), "list its batches")
            listed = [one for one in page.get("data") or () if isinstance(one, Mapping)]
            recent = [one for one in listed if _moment(one.get("created_at")) >= since]
            found += [
                str(one["id"])
                for one in recent
                if one.get("id") not in known and _size(one.get("request_counts")) == batch.size
            ]
            if not page.get("has_more") or len(recent) < len(listed) or not listed:
                return found
            after = str(listed[-1]["id"])

    async def state(self, id: str) -> State:
        found = await asked(self._client, Call("GET", f"{PATH}/{id}"), f"say how batch {id} stands")
        ended = found.get("processing_status") == "ended"
        return State(ended, UNANSWERED)

    async def results(self, id: str, state: State) -> dict[str, Arrived]:
        call = Call("GET", f"{PATH}/{id}/results", as_text=True, large=True)
        text = await asked(self._client, call, f"give the results of batch {id}")
        return dict(filter(None, (_result(line, id) for line in text.splitlines())))


def _moment(created: Any) -> float:
    """Seconds of the epoch; now and later where it cannot be read, so that nothing is passed by."""
    try:
        return datetime.fromisoformat(str(created)).timestamp()
    except ValueError:
        return float("inf")


def _size(counts: Any) -> int:
    numbers = counts.values() if isinstance(counts, Mapping) else ()
    return sum(number for number in numbers if isinstance(number, int))


def _result(line: str, id: str) -> tuple[str, Arrived] | None:
    """(name, what came) of one line; None where it cannot be read."""
    try:
        found = json.loads(line)
        name, result = str(found["custom_id"]), found["result"]
        kind = result["type"]
    except (ValueError, KeyError, TypeError):
        return None
    if kind == "succeeded":
        message = result.get("message")
        return name, Response(200, {}, json.dumps(message), message)
    if kind == "errored":
        error = result.get("error") or {}
        inner = error.get("error") or error
        status = _STATUS.get(str(inner.get("type") if isinstance(inner, Mapping) else ""), 500)
        return name, Response(status, {}, json.dumps(error), error)
    return name, cancelled(id) if kind == "canceled" else EXPIRED
