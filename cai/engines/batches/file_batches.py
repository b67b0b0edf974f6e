"""OpenAI's Batch API: a file of requests is uploaded, a batch made of it, and files of results fetched.

Sources: platform.openai.com/docs/guides/batch, /docs/api-reference/batch and /files; the types of the package
``openai`` 3.54. Also spoken by Azure's v1 endpoint, Groq and others.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from cai.engines.batches.service import (
    EXPIRED,
    UNANSWERED,
    Arrived,
    Failure,
    Row,
    State,
    asked,
    cancelled,
)
from cai.engines.server.client import Call, JsonClient
from cai.engines.server.complaint import Response
from cai.run.pending import Batch

_ENDED = ("completed", "expired", "cancelled", "failed")
_CROWDED = ("token_limit_exceeded", "request_limit_exceeded")
_PAGE = 100  # batches in a list, the most
_CLOCKS = 600.0  # seconds by which two clocks may differ


class FileBatches:
    """``service.Service`` over /files and /batches."""

    most_rows = 50_000
    most_bytes = 200_000_000
    exact = True

    def __init__(self, client: JsonClient):
        self._client = client

    def line(self, name: str, path: str, body: Mapping[str, Any]) -> bytes:
        request = {"custom_id": name, "method": "POST", "url": f"/v1{path}", "body": body}
        return json.dumps(request).encode() + b"\n"

    async def upload(self, rows: Sequence[Row]) -> str:
        border = secrets.token_hex(16)
        parts = (
            f'--{border}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'.encode(),
            f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="batch.jsonl"\r\n'.encode(),
            b"Content-Type: application/jsonl\r\n\r\n",
            *(row.line for row in rows),
            f"\r\n--{border}--\r\n".encode(),
        )
        content = f"multipart/form-data; boundary={border}"
        call = Call("POST", "/files", b"".join(parts), content, large=True)
        return str((await asked(self._client, call, "take a file of requests")).get("id"))

    async def create(self, batch: Batch, rows: Sequence[Row], known: set[str]) -> str:
        fields = {
            "input_file_id": batch.file,
            "endpoint": f"/v1{rows[0].path}",
            "completion_window": "24h",
        }

        async def instead() -> dict[str, Any] | None:
            found = await self.find(batch, known)
            return {"id": found[0]} if found else None

        call = Call("POST", "/batches", json.dumps(fields).encode())
        return str((await asked(self._client, call, "make a batch", instead)).get("id"))

    async def find(self, batch: Batch, known: set[str]) -> list[str]:
        after = ""
        while True:
            path = f"/batches?limit={_PAGE}" + (f"&after={after}" if after else "")
            page = await asked(self._client, Call("GET", path), "list its batches")
            listed = [one for one in page.get("data") or () if isinstance(one, Mapping)]
            if found := [str(one.get("id")) for one in listed if one.get("input_file_id") == batch.file]:
                return found[:1]
            oldest = min((one.get("created_at") or 0 for one in listed), default=0)
            if not page.get("has_more") or oldest < batch.created - _CLOCKS:
                return []
            after = str(listed[-1].get("id"))

    async def state(self, id: str) -> State:
        found = await asked(self._client, Call("GET", f"/batches/{id}"), f"say how batch {id} stands")
        status = found.get("status")
        if status not in _ENDED:
            return State(ended=False)
        if status == "failed":
            return State(ended=True, missing=UNANSWERED, failure=_failure(found))
        files = [found.get(name) for name in ("output_file_id", "error_file_id")]
        late = EXPIRED if status == "expired" else UNANSWERED
        missing = cancelled(id) if status == "cancelled" else late
        return State(True, missing, tuple(file for file in files if isinstance(file, str) and file))

    async def results(self, id: str, state: State) -> dict[str, Arrived]:
        found: dict[str, Arrived] = {}
        for file in state.files:
            call = Call("GET", f"/files/{file}/content", as_text=True, large=True)
            text = await asked(self._client, call, f"give the results of batch {id}")
            found |= dict(filter(None, (_result(line, id) for line in text.splitlines())))
        return found


def _failure(batch: Mapping[str, Any]) -> Failure:
    """Why it was declined when its file was looked through."""
    listed = (batch.get("errors") or {}).get("data") or [{"message": "no reason is given"}]
    errors = [one for one in listed if isinstance(one, Mapping)]
    lines = {one["line"] - 1: _complaint(one) for one in errors if isinstance(one.get("line"), int)}
    crowded = any(one.get("code") in _CROWDED for one in errors)
    return Failure(_complaint(errors[0]), crowded, lines)


def _complaint(error: Mapping[str, Any]) -> Response:
    body = {"error": {name: error.get(name) for name in ("message", "code", "param")}}
    return Response(400, {}, json.dumps(body), body)


def _result(line: str, id: str) -> tuple[str, Arrived] | None:
    """(name, what came) of one line; None where it cannot be read."""
    try:
        found = json.loads(line)
        name, error, response = str(found["custom_id"]), found.get("error"), found.get("response")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if isinstance(response, Mapping) and isinstance(response.get("status_code"), int):
        body = response.get("body")
        return name, Response(response["status_code"], {}, json.dumps(body), body)
    code = error.get("code") if isinstance(error, Mapping) else None
    if code == "batch_expired":
        return name, EXPIRED
    if code == "batch_cancelled":
        return name, cancelled(id)
    body = {"error": error or "no reason is given"}
    return name, Response(500, {}, json.dumps(body), body)
