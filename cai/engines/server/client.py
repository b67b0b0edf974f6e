"""POST JSON to a server that is sometimes busy: bounded, retried with jitter, errors in plain words.

The key is read from the environment when a session begins and goes nowhere but into its header.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from cai.values.errors import EngineError, ItemError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on asking. Seconds; the pause doubles each time, with jitter."""

    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 60.0
    timeout: float = 600.0
    connect_timeout: float = 10.0

    def pause(self, attempt: int, retry_after: str | None) -> float:
        """Seconds to wait after failed attempt number ``attempt`` (from 0)."""
        asked = _seconds(retry_after)
        if asked is None:
            asked = self.first_pause * 2**attempt * random.uniform(0.5, 1.5)
        return min(asked, self.longest_pause)


class Refused(Exception):
    """The server understood and declined (400, 413, 422): the request's fault, or its form's."""


class JsonClient:
    """A server under ``base_url``. One session per event loop."""

    def __init__(self, base_url: str, concurrency: int, patience: Patience) -> None:
        self.base_url = base_url
        self._concurrency = concurrency
        self._patience = patience
        self._session: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def post(self, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The server's JSON answer.

        Raises:
            Refused: the server declines this request.
            ItemError: the server fails on this request again and again, or its answer is not JSON.
            EngineError: no server, no permission, no such model, or too busy for too long.
        """
        session = self._open()
        async with self._bound:
            for attempt in range(self._patience.attempts):
                last = attempt == self._patience.attempts - 1
                retry_after = None
                try:
                    response = await session.post(self.base_url + path, json=payload)
                except httpx.TimeoutException as error:
                    trouble: Exception = self._unreachable("did not answer in time", error)
                except httpx.TransportError as error:
                    trouble = self._unreachable("cannot be reached", error)
                    # Nobody listens there: waiting long will not help.
                    last = last or (isinstance(error, httpx.ConnectError) and attempt >= 2)
                else:
                    if response.status_code not in RETRIED:
                        return self._read(response)
                    trouble = self._busy(response)
                    retry_after = response.headers.get("Retry-After")
                if last:
                    raise trouble
                await asyncio.sleep(self._patience.pause(attempt, retry_after))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def glance(self, path: str, seconds: float = 5.0) -> dict[str, Any]:
        """What the server has at ``path``, asked once; {} where it has nothing readable there."""
        try:
            response = await self._open().get(self.base_url + path, timeout=seconds)
            answer = response.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.aclose()

    def _open(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            key = os.environ.get("OPENAI_API_KEY")
            self._loop = loop
            self._bound = asyncio.Semaphore(self._concurrency)
            self._session = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(self._patience.timeout, connect=self._patience.connect_timeout),
                limits=httpx.Limits(max_connections=self._concurrency),
            )
        return self._session

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        status = response.status_code
        if status in (401, 403):
            raise EngineError(
                f"the server at {self.base_url} refuses the key ({status}). "
                "Set OPENAI_API_KEY to a valid one."
            )
        if status == 404:
            raise EngineError(
                f"the server at {self.base_url} has no such model or path ({_message(response)}). "
                "Check --model, and that the base URL ends in /v1 where the server's does."
            )
        if status in (400, 413, 422):
            raise Refused(_message(response))
        try:
            answer = response.raise_for_status().json()
        except (httpx.HTTPStatusError, ValueError) as error:
            raise ItemError(
                "the server's answer cannot be read", f"{status}: {response.text[:300]!r}"
            ) from error
        if not isinstance(answer, dict):
            raise ItemError("the server's answer cannot be read", repr(answer)[:300])
        return answer

    def _busy(self, response: httpx.Response) -> Exception:
        status, message = response.status_code, _message(response)
        if status == 500:  # may well be this one request
            return ItemError("the server failed on this request", f"{status}: {message}")
        return EngineError(
            f"the server at {self.base_url} answered {status} every time ({message}). "
            "Run the same command again later (answers so far are kept), or lower max_concurrency."
        )

    def _unreachable(self, what: str, error: Exception) -> EngineError:
        made = EngineError(
            f"the server at {self.base_url} {what} ({type(error).__name__}). "
            "Is it running? The address comes from base_url or OPENAI_BASE_URL."
        )
        made.__cause__ = error
        return made


def _message(response: httpx.Response) -> str:
    """The server's own words, without the key should it repeat it."""
    try:
        body = response.json()
        error = body.get("error", body) if isinstance(body, dict) else body
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except ValueError:
        text = response.text
    key = os.environ.get("OPENAI_API_KEY")
    return (text.replace(key, "[key]") if key else text)[:500]


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header (seconds or a date) in seconds from now; None without a readable one."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
