"""What a server's answer means: an answer, a fault of this request, a fault that ends the run, or "later".

A pure function of the response. Codes are trusted before words, and words only where public servers are known
to use them. Money, keys and addresses stop a run at once; what is wrong with one item leaves others alone;
everything that may pass is asked again (``Later``), by ``client.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from cai.engines.server.complaint import Response, codes_of, is_page, message_of
from cai.engines.server.credentials import Credentials
from cai.engines.server.waits import asked_wait
from cai.values.errors import EngineError

#: limit: the server is asked too much, all requests wait and fewer go at once; away: nobody is there, all
#: wait and one goes ahead; request: this request failed, and may do so alone.
Kind = Literal["limit", "away", "request"]

_LIMIT = frozenset({429, 503, 529})
_AWAY = frozenset({502, 520, 521, 522, 523, 525, 526, 527})
_REQUEST = frozenset({408, 409, 424, 425, 499, 500, 504, 524})

_MONEY = frozenset(
    {
        "insufficient_quota",
        "insufficient_balance",
        "insufficient_funds",
        "insufficient_credits",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "payment_required",
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable",
    }
)
_MONEY_WORDS = re.compile(r"credit balance is too low|insufficient (balance|credits?|funds)", re.I)
_KEY_CODES = frozenset({"invalid_api_key", "api_key_invalid", "authentication_error", "unauthenticated"})
_KEY_WORDS = re.compile(r"api key not valid|(invalid|incorrect|missing) api[ _-]?key", re.I)
_MODEL_CODES = frozenset({"model_not_found", "invalid_model", "model_not_supported", "deploymentnotfound"})
_MODEL_WORDS = re.compile(
    r"invalid model( name)?\b|model not exist|model .{0,80}(does not exist|not found)", re.I
)
_MODERATED = re.compile(
    r"content[_ ]?(filter|policy|management policy)|responsible ?ai|moderation|flagged|safety|"
    r"data_inspection_failed|inappropriate content|prohibited[_ ]content|usage polic|invalid_prompt|"
    r"bio_policy|policy_violation",
    re.I,
)
_TOO_LONG_CODES = frozenset(
    {
        "context_length_exceeded",
        "exceed_context_size_error",
        "string_above_max_length",
        "request_too_large",
        "tokens_limit_reached",
    }
)
_TOO_LONG = re.compile(
    r"context (length|window|size|limit)|prompt is too long|(input|prompt)( tokens?| length)?.{0,40}exceed|"
    r"exceed.{0,60}max.{0,20}tokens|too many (input )?tokens|reduce (the|your) (length|prompt|input)|"
    r"request too large|must have less than \d+ tokens",
    re.I,
)
_NO_ENDPOINT = re.compile(r"no endpoints? found that support", re.I)
_HTTPS_WANTED = re.compile(r"plain http request was sent to https port|http request to an https server", re.I)
# Codes in words, of errors within a 200, by the status that they stand for.
_AS_STATUS = (
    (re.compile(r"rate_?limit|too_many_requests|resource_exhausted|throttl"), 429),
    (re.compile(r"overload|unavailable|engine_busy|capacity"), 503),
    (re.compile(r"authentication|unauthenticated|invalid_api_key"), 401),
    (re.compile(r"not_found"), 404),
    (re.compile(r"invalid_request|invalid_argument|bad_?request|validation"), 400),
)


class Refused(Exception):
    """The server understood and declined: the request's fault, or its form's.

    ``body``: the server's answer as JSON, or its text. ``message``: the server's own words.
    """

    def __init__(self, status: int, body: dict[str, Any] | str, message: str):
        self.status = status
        self.body = body
        self.message = message
        super().__init__(message)


class Moderated(Refused):
    """The content of this request was declined, by a filter or a moderator."""


class TooLong(Refused):
    """The request is longer than the model's context, or than a limit that no wait lifts."""


class Missing(EngineError):
    """There is nothing at this address: no such model, or no such thing as was asked after."""


class Later(Exception):
    """Something that may pass. ``wait``: seconds that the server asks for. ``alive``: a server spoke."""

    def __init__(self, kind: Kind, what: str, *, wait: float | None = None, alive: bool, status: int = 0):
        self.kind: Kind = kind
        self.what = what
        self.wait = wait
        self.alive = alive
        self.status = status
        super().__init__(what)


def read(response: Response, who: Credentials, *, proven: bool) -> dict[str, Any]:
    """The answer in ``response``. ``proven``: this server has answered before, so that its address is right.

    Raises:
        Refused, Moderated, TooLong: this request's fault, or its form's.
        EngineError: every later request would fail too.
        Later: it may pass.
    """
    status = response.status
    if status == 200 and isinstance(response.json, dict):
        if not (error := _error_within(response.json)):
            return response.json
        status = _status_of(error, response.json)
    raise _fault(_Case(response, status, who, proven, message_of(response), codes_of(response.json)))


@dataclass(frozen=True, slots=True)
class _Case:
    """A response that is no answer. ``status``: its own, or the one that an error within a 200 stands for."""

    response: Response
    status: int
    who: Credentials
    proven: bool
    message: str
    codes: frozenset[str]

    @property
    def at(self) -> str:
        return f"the server at {self.who.address}"

    @property
    def shown(self) -> str:
        return f"a web page, {self.message!r}" if is_page(self.response) else self.message

    def refused(self, kind: type[Refused]) -> Refused:
        body = self.response.json if isinstance(self.response.json, dict) else self.response.text[:2000]
        return kind(self.status, body, self.message)


def _fault(case: _Case) -> Exception:
    found = (read_as(case) for read_as in (_money, _content, _key, _address, _form, _later))
    return next((fault for fault in found if fault is not None), case.refused(Refused))


def _money(case: _Case) -> EngineError | None:
    told = case.status >= 400 and _MONEY_WORDS.search(case.message)
    if case.status != 402 and not case.codes & _MONEY and not told:
        return None
    return EngineError(
        f"{case.at} wants money ({case.status}: {case.message}). Waiting does not help: add credit or raise "
        "the limit of the account, then run the same command again (answers so far are kept)."
    )


def _content(case: _Case) -> Refused | None:
    """Too long, or withheld: this request alone."""
    if not 400 <= case.status < 500:
        return None
    told = case.status in (400, 413, 422, 429) and _TOO_LONG.search(case.message)
    if case.codes & _TOO_LONG_CODES or told:
        return case.refused(TooLong)
    said = f"{case.message} {' '.join(sorted(case.codes))}"
    if case.status in (400, 403, 422, 451) and _MODERATED.search(said):
        return case.refused(Moderated)
    return None


def _key(case: _Case) -> EngineError | None:
    told = case.codes & _KEY_CODES or _KEY_WORDS.search(case.message)
    if case.status == 401 or (case.status in (400, 403) and told):
        return EngineError(f"{case.at} refuses the key ({case.status}: {case.shown}). {case.who.advice}")
    if case.status == 407:
        return EngineError(f"the proxy before {case.who.address} wants a user and password ({case.message}).")
    if case.status != 403:
        return None
    known = "The key is known, but not for this: ask who owns the account, or take another model or server."
    advice = known if case.who.has_key else case.who.advice
    return EngineError(f"{case.at} does not allow this (403: {case.shown}). {advice}")


def _address(case: _Case) -> EngineError | None:
    """No model of that name, or nothing that such a request belongs to."""
    status = case.status
    if _HTTPS_WANTED.search(case.response.text[:2000]):
        return EngineError(
            f"{case.at} speaks https, not http: "
            "write https:// in base_url, OPENAI_BASE_URL or ANTHROPIC_BASE_URL."
        )
    if status in (404, 410) and not _NO_ENDPOINT.search(case.message):
        return Missing(
            f"{case.at} has no such model or path ({case.shown}). "
            f"Check the model's name, and base_url: {case.who.ending}."
        )
    if status in (400, 422) and (case.codes & _MODEL_CODES or _MODEL_WORDS.search(case.message)):
        return EngineError(f"{case.at} has no such model ({case.message}). Check the model's name.")
    if status in (405, 501, 505):
        return EngineError(
            f"{case.at} takes no such request there ({status}: {case.shown}). "
            f"Check base_url: {case.who.ending}."
        )
    return None


def _form(case: _Case) -> EngineError | None:
    """Something that is no interface for programs: a redirection, a page."""
    if 300 <= case.status < 400:
        # Without parameters, which may be tokens.
        target = (case.response.headers.get("Location") or "nowhere").partition("?")[0][:200]
        secure = target.startswith("https://") and _host(target) == _host(case.who.address)
        return EngineError(
            f"{case.at} sends elsewhere ({case.status}: {target}). "
            + (
                "Write https:// in base_url, OPENAI_BASE_URL or ANTHROPIC_BASE_URL."
                if secure and case.who.address.startswith("http://")
                else "Perhaps to a login page: check base_url and the key. Requests do not follow, since the "
                "key would go along."
            )
        )
    if 200 <= case.status < 300 and is_page(case.response) and not case.proven:
        return EngineError(
            f"{case.at} answers with {case.shown}, not with JSON: a login, or the wrong address. "
            f"Check base_url: {case.who.ending}."
        )
    return None


def _later(case: _Case) -> Later | None:
    status, wait = case.status, asked_wait(case.response.headers, case.response.json, datetime.now(UTC))
    what = f"{status}: {case.shown}"
    if status in _LIMIT:
        spoke = status == 429 or wait is not None or bool(case.codes)
        return Later("limit", what, wait=wait, alive=spoke, status=status)
    if status in _AWAY:
        return Later("away", what, wait=wait, alive=False, status=status)
    if status in _REQUEST or status >= 500:
        return Later("request", what, wait=wait, alive=status < 500, status=status)
    if 200 <= status < 300:
        kind: Kind = "away" if is_page(case.response) else "request"
        form = "a web page" if kind == "away" else "JSON that cannot be read"
        return Later(
            kind, f"{status} with {form}: {case.message[:300]}", wait=wait, alive=True, status=status
        )
    return None


def _host(address: str) -> str | None:
    return urlsplit(address).hostname


def _error_within(answer: Mapping[str, Any]) -> Any:
    """The error that a 200 holds: beside the choices, or in the first of them."""
    if answer.get("error"):
        return answer["error"]
    if answer.get("object") == "error" or answer.get("type") == "error":
        return answer
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first.get("error") if isinstance(first, Mapping) else None


def _status_of(error: Any, answer: dict[str, Any]) -> int:
    """The status that an error within a 200 stands for; 500 where it does not say."""
    codes = codes_of(answer)
    for code in codes:
        if code.isdigit() and 400 <= int(code) < 600:
            return int(code)
    said = " ".join(sorted(codes)) or str(error).lower()
    if codes & _TOO_LONG_CODES or _MODERATED.search(said):
        return 400
    return next((status for pattern, status in _AS_STATUS if pattern.search(said)), 500)
