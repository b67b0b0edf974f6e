"""The log-probabilities of an answer's first token, in all the forms in which servers give them.

Chat's ``content[0].top_logprobs`` with ``bytes`` or without; the older ``tokens`` beside dictionaries; tokens
as a vocabulary spells them (``▁A``, ``ĠA``). A null or a number that is none is no value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai.values.errors import ItemError
from cai.values.types import Choice

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_NAMELESS = re.compile(r"token_id:\d+")
_SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})
LOOSE = 0.05  # of the listed options' mass: above it, the bound of another does not tell who is preferred


@dataclass(frozen=True, slots=True)
class Listed:
    """A token that a server lists, as text, and its log P in nats."""

    token: str
    logprob: float

    def like(self, other: Listed, nats: float) -> bool:
        """Whether both are one token of about the same probability."""
        return self.token == other.token and abs(self.logprob - other.logprob) <= nats

    def as_pair(self) -> tuple[str, float]:
        return self.token, self.logprob


@dataclass(frozen=True, slots=True)
class FirstToken:
    """What is listed in the place of an answer's first token. ``drawn``: the token that came; "" untold."""

    drawn: str
    top: tuple[Listed, ...]

    @property
    def likeliest(self) -> Listed:
        return max(self.top, key=lambda one: one.logprob)

    @property
    def nameless(self) -> bool:
        """Whether the server gives numbers of tokens, from which no text can be known."""
        return any(_NAMELESS.fullmatch(one.token) for one in self.top)


def first_token(logprobs: Any) -> FirstToken | None:
    """What ``logprobs`` of a choice lists first; None where it lists no alternatives."""
    if not isinstance(logprobs, Mapping):
        return None
    content = logprobs.get("content")
    if isinstance(content, Sequence) and content and isinstance(content[0], Mapping):
        first = content[0]
        top = _listed(first.get("top_logprobs"))
        return FirstToken(_spelled(first), top) if top else None
    tops, tokens = logprobs.get("top_logprobs"), logprobs.get("tokens")
    if isinstance(tops, Sequence) and tops:
        drawn = tokens[0] if isinstance(tokens, Sequence) and tokens else ""
        top = _listed(tops[0])
        return FirstToken(_spelled({"token": drawn}), top) if top else None
    return None


def read_choice(options: Sequence[str], listed: FirstToken, reply: str, prompt_tokens: int) -> Choice:
    """Log P of each option; one outside the list is bounded by the smallest value in it, and marked.

    Raises:
        ItemError: no option is listed, or a bound is so loose that nothing can be said.
    """
    found = [_mass(option, listed.top) for option in options]
    known = [value for value in found if value is not None]
    shown = ", ".join(repr(one.token) for one in listed.top)
    missing = [option for option, value in zip(options, found, strict=True) if value is None]
    if not known:
        raise ItemError(
            "no option is among the server's most probable tokens",
            f"{', '.join(map(repr, options))} not in {shown}; the reply began {reply!r}",
        )
    bound = min(one.logprob for one in listed.top)
    if missing and math.exp(bound) > LOOSE * math.fsum(map(math.exp, known)):
        raise ItemError(
            "an option is not among the server's most probable tokens",
            f"{', '.join(map(repr, missing))} not in {shown}, whose smallest probability, "
            f"{math.exp(bound):.3f}, says too little; the reply began {reply!r}",
        )
    values = tuple(bound if value is None else value for value in found)
    return Choice(values, prompt_tokens, tuple(v is None for v in found) if missing else ())


def mass(choice: Choice) -> float:
    """The probability that the options hold together; those that are bounded at most."""
    return math.fsum(math.exp(value) for value in choice.logprobs)


def inconsistent(listed: FirstToken, greedy: str, near: float = 0.25) -> str:
    """Why ``listed`` cannot be what a server draws from; "" where nothing speaks against it.

    ``greedy`` is its reply to the same question at temperature 0, which begins with the most probable token,
    or with one whose log P is not ``near`` nats below that: batches differ in their last digits.
    """
    total = math.fsum(math.exp(one.logprob) for one in listed.top)
    if total > 1.02:
        return f"its listed probabilities add up to {total:.2f}"
    best = max(one.logprob for one in listed.top)
    likely = [one.token for one in listed.top if one.logprob >= best - near]
    begun = greedy.lstrip()
    if begun and not any(token.strip() and begun.startswith(token.strip()) for token in likely):
        blank = any(not token.strip() for token in likely)
        if not blank:
            return f"it lists {likely[0]!r} as most probable, and its greedy reply begins {greedy[:20]!r}"
    return ""


def _listed(entries: Any) -> tuple[Listed, ...]:
    pairs: Iterable[tuple[Mapping[str, Any], Any]]
    if isinstance(entries, Mapping):
        pairs = (({"token": token}, value) for token, value in entries.items())
    elif isinstance(entries, Sequence) and not isinstance(entries, str):
        pairs = ((entry, entry.get("logprob")) for entry in entries if isinstance(entry, Mapping))
    else:
        return ()
    return tuple(
        Listed(_spelled(entry), min(float(value), 0.0))
        for entry, value in pairs
        if isinstance(value, int | float) and math.isfinite(value) and value <= 0.01
    )


def _spelled(entry: Mapping[str, Any]) -> str:
    """A token's text; by its bytes where the token itself is a vocabulary's spelling."""
    token, raw = str(entry.get("token", "")), entry.get("bytes")
    if isinstance(raw, Sequence) and raw and all(isinstance(b, int) and 0 <= b < 256 for b in raw):
        text = bytes(raw).decode("utf-8", "replace")
        if "\ufffd" not in text:
            token = text
    if byte := _BYTE.fullmatch(token):
        return bytes([int(byte.group(1), 16)]).decode("latin-1")
    return token.translate(_SPACES)


def _mass(option: str, top: Sequence[Listed]) -> float | None:
    """log Σ P over the listed tokens that spell ``option``, with or without a space before or after."""
    wanted = option.strip()
    found = [one.logprob for one in top if one.token.strip() == wanted]
    if not found:
        return None
    best = max(found)
    return best + math.log(math.fsum(math.exp(value - best) for value in found))
