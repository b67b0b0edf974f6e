"""Two services of batches, as their documentation and their SDKs' types have them, before any model.

``Desk`` is handed requests and gives answers, so that any server may have it: OpenAI's files and batches, and
Anthropic's Message Batches, by ``messages``. A batch runs, and is paid for, when it is made.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

Body = dict[str, Any]
Answer = tuple[int, Any]
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass
class Made:
    """A batch. ``rows``: (custom_id, body); ``lines``: of results; ``polls``: how often it has not ended."""

    id: str
    rows: list[tuple[str, Body]]
    file: str = ""
    endpoint: str = ""
    status: str = "in_progress"
    lines: list[Body] = field(default_factory=list)
    failed: list[Body] = field(default_factory=list)  # of the error file
    errors: list[Body] = field(default_factory=list)
    polls: int = 0
    created: float = field(default_factory=lambda: datetime.now(UTC).timestamp())


@dataclass
class Desk:
    """``answer`` is the model's. ``fate``: of a row, by its body: "" it is answered, else "expired",
    "cancelled", "lost" (no line), "broken" (a line that is no JSON), or an answer in the model's place.

    ``on``: called with "upload", "create", "poll", "fetch" before, and "created" after; may kill, or give an
    answer itself. ``room``: rows that may be under way at a time. ``complaint``: of a batch's rows, what is
    wrong with its file.
    """

    answer: Callable[[Body], Answer]
    messages: bool = False
    fate: Callable[[Body], Any] = lambda body: ""
    on: Callable[[str], Answer | None] = lambda event: None
    complaint: Callable[[list[Body]], list[Body]] = lambda bodies: []
    polls: int = 1
    room: int = 10**6
    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[Made] = field(default_factory=list)
    paid: Counter[str] = field(default_factory=Counter)  # questions, in batches and alone
    alone: list[Body] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)  # (method, path) of all

    def __call__(self, method: str, target: str, content: str, raw: bytes) -> Answer:  # noqa: PLR0911
        url = urlsplit(target)
        path = url.path.removeprefix("/v1")
        self.seen.append((method, path))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        at = "/messages/batches" if self.messages else "/batches"
        if (method, path) == ("POST", "/files") and not self.messages:
            return self.on("upload") or self._upload(content, raw)
        if (method, path) == ("POST", at):
            if refusal := self.on("create"):
                return refusal
            made = self._create(json.loads(raw))
            return self.on("created") or made
        if (method, path) == ("GET", at):
            return self._list(query)
        if found := re.fullmatch(rf"{at}/([^/]+)", path):
            return self.on("poll") or self._poll(found[1])
        if found := re.fullmatch(rf"{at}/([^/]+)/results|/files/([^/]+)/content", path):
            return self.on("fetch") or self._fetch(found[1] or found[2])
        if method == "GET":
            return 200, {"data": [{"id": "m", "object": "model"}]}
        body = json.loads(raw)
        self.alone.append(body)
        return self._run(body)

    def _run(self, body: Body) -> Answer:
        status, answer = self.answer(dict(body))
        self.paid[json.dumps(body, sort_keys=True)] += status == 200
        return status, answer

    # --- Making -----------------------------------------------------------------------------

    def _upload(self, content: str, raw: bytes) -> Answer:
        border = content.partition("boundary=")[2].encode()
        parts = [part for part in raw.split(b"--" + border) if b"\r\n\r\n" in part]
        fields = {re.search(rb'name="(\w+)"', part)[1]: part.split(b"\r\n\r\n", 1)[1] for part in parts}  # type: ignore[index]
        assert fields[b"purpose"].strip() == b"batch"
        name = f"file-{len(self.files) + 1}"
        self.files[name] = fields[b"file"]
        return 200, {
            **{"id": name, "object": "file", "bytes": len(fields[b"file"]), "created_at": 1},
            **{"filename": "batch.jsonl", "purpose": "batch", "status": "processed"},
        }

    def _create(self, asked: Body) -> Answer:
        made = Made(f"batch_{len(self.batches) + 1}", [], polls=self.polls)
        if self.messages:
            made.rows = [(one["custom_id"], one["params"]) for one in asked["requests"]]
        else:
            assert asked["completion_window"] == "24h"
            made.file, made.endpoint = asked["input_file_id"], asked["endpoint"]
            lines = [json.loads(line) for line in self.files[made.file].splitlines() if line.strip()]
            assert {line["url"] for line in lines} == {made.endpoint}
            assert {line["method"] for line in lines} == {"POST"}
            made.rows = [(line["custom_id"], line["body"]) for line in lines]
        names = [name for name, _ in made.rows]
        assert len(set(names)) == len(names) and all(NAME.fullmatch(name) for name in names)
        self.batches.append(made)
        under_way = sum(len(one.rows) for one in self.batches if one.status == "in_progress")
        made.errors = self.complaint([body for _, body in made.rows])
        if made.errors:
            made.status = "failed"
        elif under_way > self.room:
            made.status = "failed"
            made.errors = [
                {
                    **{"code": "token_limit_exceeded", "line": None, "param": None},
                    "message": f"Enqueued token limit reached for m. Limit: {self.room} enqueued tokens.",
                }
            ]
        else:
            for name, body in made.rows:
                self._one(made, name, body)
        return 200, self._shown(made)

    def _one(self, made: Made, name: str, body: Body) -> None:
        fate = self.fate(body)
        if fate == "lost":
            return
        if fate in ("expired", "cancelled"):
            if self.messages:
                kind = "expired" if fate == "expired" else "canceled"
                made.lines.append({"custom_id": name, "result": {"type": kind}})
            else:
                error = {"code": f"batch_{fate}", "message": "This request was not executed."}
                made.failed.append({"id": "r", "custom_id": name, "response": None, "error": error})
            return
        status, answer = fate if fate and fate != "broken" else self._run(body)
        if self.messages:
            good = {"type": "succeeded", "message": answer}
            line = good if status == 200 else {"type": "errored", "error": answer}
            made.lines.append({"custom_id": name, "result": line})
        else:
            response = {"status_code": status, "request_id": "q", "body": answer}
            to = made.lines if status == 200 else made.failed
            to.append({"id": "r", "custom_id": name, "response": response, "error": None})
        if fate == "broken":
            made.lines[-1] = {"broken": True}

    # --- Looking ----------------------------------------------------------------------------

    def _list(self, query: dict[str, str]) -> Answer:
        newest = list(reversed(self.batches))
        after = query.get("after") or query.get("after_id")
        start = next((n + 1 for n, one in enumerate(newest) if one.id == after), 0)
        page = newest[start : start + int(query["limit"])]
        return 200, {
            **{"object": "list", "data": [self._shown(one) for one in page]},
            "has_more": start + len(page) < len(newest),
        }

    def _poll(self, id: str) -> Answer:
        made = next((one for one in self.batches if one.id == id), None)
        if made is None:
            return 404, {"error": {"message": f"No batch found with id '{id}'.", "type": "not_found_error"}}
        made.polls -= 1
        if made.polls < 0 and made.status == "in_progress":
            made.status = "completed"
        return 200, self._shown(made)

    def _fetch(self, id: str) -> Answer:
        made = next(one for one in self.batches if id in (one.id, f"out-{one.id}", f"err-{one.id}"))
        lines = made.failed if id.startswith("err-") else made.lines
        text = "".join(
            '{"custom_id": \n' if "broken" in line else json.dumps(line) + "\n" for line in reversed(lines)
        )
        return 200, text

    def _shown(self, made: Made) -> Body:
        if self.messages:
            ended = made.status != "in_progress"
            counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
            counts["succeeded" if ended else "processing"] = len(made.rows)
            moment = datetime.fromtimestamp(made.created, UTC).isoformat().replace("+00:00", "Z")
            return {
                **{"id": made.id, "type": "message_batch", "created_at": moment, "expires_at": moment},
                **{"processing_status": "ended" if ended else "in_progress", "request_counts": counts},
                "results_url": f"https://api.anthropic.com/v1/messages/batches/{made.id}/results"
                if ended
                else None,
            }
        done = made.status == "completed"
        return {
            **{"id": made.id, "object": "batch", "endpoint": made.endpoint, "status": made.status},
            **{"input_file_id": made.file, "completion_window": "24h", "created_at": int(made.created)},
            "output_file_id": f"out-{made.id}" if done and made.lines else None,
            "error_file_id": f"err-{made.id}" if done and made.failed else None,
            "errors": {"object": "list", "data": made.errors} if made.errors else None,
            "request_counts": {"total": len(made.rows), "completed": len(made.lines), "failed": 0},
        }
