"""Who may talk to the voting page: the person to whom its address was printed, from that page alone.

The server listens on 127.0.0.1, yet every page that the person has open can send requests there, and a
hostile one can make its own name point there (DNS rebinding). So on every route: the Host must be this
address, an Origin this one too, and the secret of the printed address must have come along, which becomes a
cookie at the first visit. Everything else is answered 403 before any handler runs.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_CLOSED = "403: open the address that cai annotate printed when it was started.\n"


@dataclass(frozen=True, slots=True)
class Door:
    """The address of the server and the secret that opens it."""

    port: int
    token: str

    @property
    def hosts(self) -> tuple[str, ...]:
        return (f"127.0.0.1:{self.port}", f"localhost:{self.port}")

    @property
    def cookie(self) -> str:
        """Cookies do not tell ports apart, so the name does: two servers do not take each other's."""
        return f"cai_vote_{self.port}"

    @property
    def address(self) -> str:
        return f"http://{self.hosts[0]}/?token={self.token}"

    def opens(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


class Guard:
    """ASGI middleware: 403 without the token or from elsewhere, and strict headers on every answer."""

    def __init__(self, app: ASGIApp, door: Door):
        self.app = app
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            return  # a web socket is closed by not being accepted
        answer = self._turn_away(scope)
        await (answer or self.app)(scope, receive, with_headers)

    def _turn_away(self, scope: Scope) -> Response | None:
        """The answer to a request that does not get in; None for one that does."""
        headers = Headers(scope=scope)
        if not self._from_here(scope, headers):
            return PlainTextResponse(_CLOSED, 403)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        tokens = [value for name, value in query if name == "token"]
        if scope["path"] == "/" and scope["method"] == "GET" and tokens:
            return self._enter(query) if self.door.opens(tokens[0]) else PlainTextResponse(_CLOSED, 403)
        given = cookie_parser(headers.get("cookie", "")).get(self.door.cookie, "")
        return None if self.door.opens(given) else PlainTextResponse(_CLOSED, 403)

    def _from_here(self, scope: Scope, headers: Headers) -> bool:
        if headers.getlist("host") not in [[host] for host in self.door.hosts]:
            return False
        origins = headers.getlist("origin")
        if origins and origins not in [[f"http://{host}"] for host in self.door.hosts]:
            return False
        # Another port of this machine is the same site, and its page sends our cookie along. Only
        # following a link may come from there.
        followed = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        return followed or headers.get("sec-fetch-site") not in ("cross-site", "same-site")

    def _enter(self, query: list[tuple[str, str]]) -> Response:
        """Keep the token as a cookie and go on to an address without it, which may be seen and bookmarked."""
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        answer = RedirectResponse(f"/?{rest}" if rest else "/", 303)
        answer.set_cookie(self.door.cookie, self.door.token, httponly=True, samesite="strict", path="/")
        return answer
