"""POST JSON to a server that is sometimes busy: paced, asked again with patience, errors in plain words.

What an answer means is said by ``faults.py``, how fast to ask by ``throttle.py``, with whose key by
``credentials.py``, which way by ``connection.py``. Here is what becomes of a request that fails: who is at
fault where one request fails and others do not, how long it is asked again, and what is said of it.
Left out: streaming, redirections (the key would go along), cookies.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from cai.config.run_config import ModelConfig
from cai.engines.engine import ON_A_SERVER
from cai.engines.server import connection
from cai.engines.server.complaint import Response, is_page
from cai.engines.server.credentials import credentials
from cai.engines.server.faults import Later, Moderated, Refused, TooLong, read
from cai.engines.server.reply import estimated_tokens, used_beyond
from cai.engines.server.throttle import Pace, Patience, Turn
from cai.values.errors import EngineError, ItemError

__all__ = ["JsonClient", "Moderated", "Patience", "Refused", "TooLong"]

# Warnings reach standard error where nobody has set up logging, also through a progress bar.
_LOG = logging.getLogger("cai.engines.server")
_SAID_AGAIN = 600.0  # seconds after which the same wait is worth a line once more
_WORTH_A_LINE = 2.0  # seconds
# Requests that may fail alone at a server that has never answered, before it is the server's fault.
_UNPROVEN = 4
_NOBODY = 4  # attempts where nobody listens, and never did
JSON = "application/json"
LARGE = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``tokens``: of a question to the model, an estimate. ``as_text``: the answer is no JSON.

    ``content``: the type of ``body``. ``asks``: whether it is a question to the model. ``large``: bodies of
    hundreds of megabytes, for which there is ``LARGE`` seconds.
    """

    method: str
    path: str
    body: bytes | None = None
    content: str = JSON
    tokens: float = 0.0
    as_text: bool = False
    asks: bool = False
    large: bool = False


class JsonClient:
    """The server of a model. One session and one pace per event loop.

    Questions are put as chat payloads; ``wire``, ``heard`` and ``declined`` translate for other protocols.
    """

    def __init__(
        self,
        config: ModelConfig,
        base_url: str,
        patience: Patience | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """``say`` is told once that requests wait, and why.

        Raises:
            UsageError: an address that cannot be one, or a key or variable that cannot be sent.
        """
        self._tell = say or _warn
        self._who = credentials(config, base_url)
        self.base_url = self._who.address
        self._patience = patience or Patience(minutes=config.patience)
        self._most = config.max_concurrency or ON_A_SERVER
        self._per_minute = config.requests_per_minute, config.tokens_per_minute
        self._query = dict(self._who.query)
        self._proxy = connection.proxy_for(self.base_url)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._urls: dict[str, URL] = {}
        self._said: dict[str, float] = {}
        self._failed_unproven = 0
        self._known_good: Call | None = None  # a request that was answered
        self._proven = False

    async def post(self, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The model's answer to a chat payload, as a chat's.

        Raises:
            Refused: the server declines this request, or its form; Moderated for its content, TooLong.
            ItemError: the server fails on this request again and again, and answers others.
            EngineError: no server, no permission, no such model, no money, or too busy for too long.
        """
        place, sent = self.wire(path, payload)
        body = json.dumps(sent).encode()
        tokens = estimated_tokens(body, sent) if self._per_minute[1] else 0.0
        try:
            answer = await self.call(Call("POST", place, body, tokens=tokens, asks=True))
        except Refused as refused:
            raise self.declined(refused) from refused
        return self.heard(answer, payload)

    def arrived(self, response: Response, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a chat payload that came in another way; raises as ``faults.read`` does."""
        try:
            return self.heard(read(response, self._who, proven=True), payload)
        except Refused as refused:
            raise self.declined(refused) from refused

    def wire(self, path: str, payload: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """(path, body) of a chat payload in the server's protocol; raises Refused for what that lacks."""
        return path, payload

    def heard(self, answer: dict[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
        """An answer in the server's protocol as a chat's."""
        return answer

    def declined(self, refused: Refused) -> Refused:
        """A refusal in the names of a chat payload's fields."""
        return refused

    async def call(self, call: Call, instead: Callable[[], Awaitable[Any]] | None = None) -> Any:
        """What the server answers: JSON, or text. Raises as ``post``.

        ``instead``: of a call that must not be made twice; looks, after a failure, whether it has had its
        effect all the same, and gives the answer that it would have had, or None.
        """
        self._open()
        pace = self._pace
        failures, alone, first_failed = 0, 0, 0.0
        while True:
            turn, correction = await pace.turn(call.tokens), 0.0
            try:
                answer = await self._send(call)
                correction = used_beyond(answer, call.tokens) if call.tokens else 0.0
                self._known_good, self._proven = call if call.asks else self._known_good, True
                pace.answered(turn)
                return answer
            except Refused:
                pace.spoken()
                raise
            except Later as fault:
                later = fault
                pause = self._booked(later, turn)
            finally:
                pace.done(turn, correction)
            failures += 1
            first_failed = first_failed if failures > 1 else turn.at
            alone += await self._fails_alone(later, call, turn, failures, first_failed)
            if alone > 1:  # twice, for the server may have come back in between
                raise ItemError("the server failed on this request", later.what)
            if pause is None:
                pause = later.wait or self._patience.pause(failures - 1)
                self._say(later, pause if failures > 2 else 0.0)
                await asyncio.sleep(pause)
            if instead is not None and (answer := await instead()) is not None:
                return answer

    async def glance(self, path: str, seconds: float = 5.0) -> dict[str, Any]:
        """What the server has at ``path``, asked once; {} where it has nothing readable there."""
        try:
            response = await self._exchange(Call("GET", path), aiohttp.ClientTimeout(total=seconds))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return {}
        return response.json if response.status == 200 and isinstance(response.json, dict) else {}

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        self._pace.close()
        if self._loop is asyncio.get_running_loop():
            await session.close()
        else:  # its loop is gone, and its connections with it
            session.detach()

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            if self._session is not None:
                self._session.detach()
            self._loop = loop
            self._pace = Pace(self._most, self._patience, *self._per_minute)
            self._control_lock = asyncio.Lock()
            patience = self._patience
            self._session = aiohttp.ClientSession(
                connector=connection.connector(self.base_url, self._proxy),
                headers={
                    "Content-Type": JSON,
                    "Accept": JSON,
                    **self._who.headers,
                },
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=patience.timeout, sock_connect=patience.connect_timeout),
                proxy=None if (self._proxy or "").startswith("socks") else self._proxy,
            )
        return self._session

    async def _send(self, call: Call) -> Any:
        """One attempt. Raises Refused, EngineError and Later, all without secrets."""
        try:
            response = await self._exchange(call)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            found = connection.why(error, self.base_url, self._proxy)
            # The library's errors hold the address with its parameters: their words are taken, not they.
            raise _hidden(found, self._who.hide) from None
        if call.as_text and response.status == 200 and not is_page(response):
            return response.text
        return read(response, self._who, proven=self._proven)

    async def _exchange(self, call: Call, timeout: aiohttp.ClientTimeout | None = None) -> Response:
        url = self._urls.get(call.path)
        if url is None:
            url = self._urls[call.path] = URL(self.base_url + call.path).update_query(self._query)
        if call.large:
            timeout = aiohttp.ClientTimeout(total=LARGE, sock_connect=self._patience.connect_timeout)
        options: dict[str, Any] = {"timeout": timeout} if timeout else {}
        if call.content != JSON:
            options["headers"] = {"Content-Type": call.content}
        asking = self._open().request(call.method, url, data=call.body, allow_redirects=False, **options)
        async with asking as came:
            text = (await came.read()).decode(errors="replace")
            good = came.status == 200
            text = self._who.hide_in_answer(text) if good else self._who.hide(text)
            try:
                content = None if call.as_text and good else json.loads(text)
            except ValueError:
                content = None
            return Response(came.status, came.headers, text, content)

    def _booked(self, later: Later, turn: Turn) -> float | None:
        """Tell the pace of a failure; None where the request alone is to wait.

        Raises:
            EngineError: the server asks to wait for longer than the user wants to.
        """
        pace, minutes = self._pace, self._patience.minutes
        pace.failed(later.alive)
        if later.wait is not None and not (minutes and pace.alive):
            later.wait = min(later.wait, self._patience.longest_pause)
        elif later.wait is not None and later.wait > minutes * 60:
            raise EngineError(
                f"the server at {self.base_url} asks to wait {_spoken(later.wait)} ({later.what}), longer "
                f"than the patience of {minutes:g} minutes. Run the same command again then (answers so far "
                "are kept), or raise 'patience' of the model."
            )
        if later.kind == "request":
            return None
        pause = pace.back_off(turn, later.wait, slower=later.kind == "limit")
        self._say(later, pause)
        return pause

    async def _fails_alone(
        self, later: Later, call: Call, turn: Turn, failures: int, first_failed: float
    ) -> bool:
        """After failure number ``failures`` of a request: whether the server answers others meanwhile.

        Raises:
            ItemError: the server has had no room for this request all that time.
            EngineError: it answers nobody, for as long as the user wants to wait.
        """
        pace, patience = self._pace, self._patience
        enough = (failures if later.kind == "request" else pace.back_offs) >= patience.attempts
        if not pace.alive or patience.minutes == 0:
            if enough or (later.status == 0 and later.kind == "away" and pace.back_offs >= _NOBODY):
                raise await self._given_up(later)
            return False
        now, limit = pace.now(), patience.minutes * 60
        if enough and pace.trouble_at is not None and now - pace.trouble_at > limit:
            raise await self._given_up(later, f" for {patience.minutes:g} minutes")
        if failures >= patience.attempts and now - first_failed > limit:
            raise ItemError("the server had no room for this request while it answered others", later.what)
        if enough and later.kind == "request":
            if not pace.answers:
                raise await self._given_up(later)
            return await self._answers_others(call, turn)
        return False

    async def _answers_others(self, call: Call, turn: Turn) -> bool:
        """Whether the server answers requests other than the one that failed in its ``turn``.

        Where no other was answered since, one that was answered before is asked once more: only an answer
        tells a request that breaks the server from a server that is broken.
        """
        pace = self._pace
        async with self._control_lock:
            if pace.answered_at is not None and pace.answered_at > turn.at:
                return True
            if self._known_good is None or self._known_good.path != call.path:
                return False
            asked = await pace.turn()
            try:
                await self._send(self._known_good)
            except (Later, Refused):
                return False
            finally:
                pace.done(asked)
            pace.answered(asked)
            return True

    async def _given_up(self, later: Later, how_long: str = "") -> Exception:
        at = f"the server at {self.base_url}"
        silent = later.status == 0 and later.kind == "request" and not (self._proxy or self._pace.alive)
        if silent and self.base_url.startswith("http://") and await connection.wants_tls(self.base_url):
            return EngineError(f"{at} {connection.TLS_WANTED}")
        if later.status == 0:
            what = "did not answer" if later.kind == "request" else "cannot be reached"
            return EngineError(
                f"{at} {what}{how_long} ({later.what}). "
                "Is it running? The address comes from base_url, OPENAI_BASE_URL or ANTHROPIC_BASE_URL."
            )
        if later.kind == "request" and not how_long:
            self._failed_unproven += 1
            if self._pace.answers or self._failed_unproven <= _UNPROVEN:
                return ItemError("the server failed on this request", later.what)
        return EngineError(
            f"{at} answered {later.status} every time{how_long} ({later.what}). "
            "Run the same command again later (answers so far are kept), or lower max_concurrency."
        )

    def _say(self, later: Later, seconds: float) -> None:
        """One line that requests wait, and why; not again for the same reason for some minutes."""
        now, reason = time.monotonic(), f"{later.kind} {later.status}"
        if seconds < _WORTH_A_LINE or now - self._said.get(reason, float("-inf")) < _SAID_AGAIN:
            return
        self._said[reason] = now
        until = f"for up to {self._patience.minutes:g} minutes" if self._patience.minutes else "a few times"
        self._tell(f"{self.base_url}: {later.what}; waiting {_spoken(seconds)}, then asking again {until}")


def _warn(text: str) -> None:
    _LOG.warning("%s", text)


def _hidden(error: Later | EngineError, hide: Any) -> Later | EngineError:
    if isinstance(error, Later):
        return Later(error.kind, hide(error.what), wait=error.wait, alive=error.alive, status=error.status)
    return EngineError(hide(str(error)))


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
