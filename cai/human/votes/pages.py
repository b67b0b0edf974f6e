"""The routes of the voting page. ``desk.py`` decides, ``guard.py`` lets in; here is only JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cai.human.votes.desk import Desk, Paper, Shown, View, clean_name, clean_paper, clean_uuid
from cai.human.votes.guard import Door, Guard
from cai.human.votes.log import Vote
from cai.human.votes.poll import Poll, Question
from cai.human.votes.rendering import differences, tree
from cai.values.errors import CaiError, ItemError
from cai.values.types import as_messages

STATIC = Path(__file__).parent / "static"
MAX_BODY = 64 * 1024  # bytes of a request
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Json = dict[str, Any]


def application(desk: Desk, door: Door, run_id: str) -> Guard:
    """The whole site behind its door."""
    files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in _TYPES}
    about = _about(desk, run_id)
    routes = [
        Route("/", partial(_file, files, "index.html")),
        Route("/static/{name}", partial(_file, files, None)),
        Route("/api/run", partial(_run, about)),
        *(
            Route(f"/api/{name}", _answering(handler, desk), methods=["POST"])
            for name, handler in _HANDLERS.items()
        ),
    ]
    return Guard(Starlette(routes=routes), door)


async def _file(files: Mapping[str, bytes], name: str | None, request: Request) -> Response:
    name = name or request.path_params["name"]
    if name not in files:
        return Response(status_code=404)
    return Response(files[name], media_type=_TYPES[Path(name).suffix])


async def _run(about: Json, request: Request) -> Response:
    return JSONResponse(about)


def _about(desk: Desk, run_id: str) -> Json:
    """What does not change while the server runs."""
    poll: Poll = desk.poll
    principles = poll.constitution.principles if poll.constitution else ()
    return {
        "run": run_id,
        "strength": desk.options.strength,
        "guidelines": tree(poll.guidelines) if poll.guidelines else None,
        "constitution": {
            "name": poll.constitution.name,
            "description": poll.constitution.description,
            "principles": [{"id": one.id, "text": one.principle} for one in principles],
        }
        if poll.constitution
        else None,
    }


def _answering(handler: Callable[[Desk, Json], Json], desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    """A route that reads a JSON object and answers with one, or says what was wrong."""

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(handler(desk, await _body(request)))
        except ItemError as error:
            return JSONResponse({"error": error.detail, "reason": error.reason}, 422)
        except CaiError as error:
            return JSONResponse({"error": str(error)}, 500)
        except ClientDisconnect:
            return Response(status_code=400)

    return answer


async def _body(request: Request) -> Json:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ItemError("body", "not application/json")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            raise ItemError("body", f"more than {MAX_BODY:,} bytes")
    try:
        body = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise ItemError("body", "not JSON") from None
    if not isinstance(body, dict):
        raise ItemError("body", "not a JSON object")
    return body


def _next(desk: Desk, body: Json) -> Json:
    return _state("ok", desk.view(clean_name(body.get("annotator"))))


def _vote(desk: Desk, body: Json) -> Json:
    paper: Paper = clean_paper(body)
    status = desk.vote(paper)
    return _state(status, desk.view(paper.annotator))


def _undo(desk: Desk, body: Json) -> Json:
    annotator = clean_name(body.get("annotator"))
    name = str(body.get("vote"))
    taken = desk.take_back(clean_uuid(body.get("uuid")), annotator, name)
    state = _state("undone" if taken else "nothing", desk.view(annotator))
    return state | {"taken": _said(taken) if taken else None}


def _unskip(desk: Desk, body: Json) -> Json:
    annotator = clean_name(body.get("annotator"))
    desk.unskip(clean_uuid(body.get("uuid")), annotator)
    return _state("ok", desk.view(annotator))


def _diff(desk: Desk, body: Json) -> Json:
    annotator = clean_name(body.get("annotator"))
    shown, _ = desk.find(annotator, str(body.get("pair")), str(body.get("showing")))
    return {"responses": differences(*shown.responses)}


_HANDLERS = {"next": _next, "vote": _vote, "undo": _undo, "unskip": _unskip, "diff": _diff}


def _state(status: str, view: View) -> Json:
    return {
        "status": status,
        "task": _task(view.shown) if view.shown else None,
        "progress": asdict(view.progress),
        "said": dict(view.said),
        "last": _said(view.last) if view.last else None,
    }


def _task(shown: Shown) -> Json:
    """Only what is read before voting: no label, no id of the run, no rank, no tag."""
    return {
        "pair": shown.key,
        "showing": shown.ticket,
        **_question(shown.item.question),
        "conversation": [
            {"role": turn["role"], "content": tree(turn["content"])}
            for turn in as_messages(shown.item.comparison.prompt.messages)
        ],
        "responses": [tree(text) for text in shown.responses],
    }


def _question(question: Question) -> Json:
    """A question that ends with its principle is shown without it: the principle stands below."""
    text = question.text
    if question.principle and text != question.principle:
        text = text.removesuffix(question.principle).strip()
    principle = question.principle if question.principle and question.principle not in text else None
    return {"question": text, "principle": principle, "principle_id": question.id}


def _said(vote: Vote) -> Json:
    return {
        "vote": vote.uuid,
        "choice": vote.choice,
        "strength": vote.strength,
        "reason": vote.reason,
    }
