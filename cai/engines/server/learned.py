"""What one process has learned of a server, kept with the run for the next one.

Kept by the model's identity, in the journal; no address and no key is in it. The next process relies on what
the server *declines* as it is told, as long as nothing speaks against it; what it *can* is shown by one
question before it is relied on, because an ability that has gone makes wrong answers. The server has changed
where it stands elsewhere, announces something else, or gives that question another answer; then, and after
``FRESH``, everything is learned anew.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from typing import Any

from cai.engines.server.parameters import Dialect
from cai.engines.server.probe import Payload, Prefill
from cai.run.journal import Journal, digest

KEY = "learned of the server"  # beside what the server says of its model
FRESH = 24 * 3600.0  # seconds
ALIKE = 0.5  # nats that a first token's log P may differ by: batches differ in their last digits

_LOG = logging.getLogger("cai.engines.server")


@dataclass(frozen=True, slots=True)
class Learned:
    """None and "" are what is not known.

    ``thinking``: the fields that make the model think as it is set to, ``otherwise`` what they do not do.
    ``first``: token and log P (nats) that it lists first for the letters' question. ``unlisted``: why it
    gives no log-probabilities.
    """

    dialect: Dialect = field(default_factory=Dialect)
    prefill: Prefill | None = None
    constraint: str | None = None
    thinking: Payload | None = None
    otherwise: str = ""
    first: tuple[str, float] | None = None
    unlisted: str = ""


NOTHING = Learned()


def place(url: str) -> str:
    """Tells one address from another without naming it."""
    return digest("place", url)


def answered_at(journal: Journal, fingerprint: str) -> str | None:
    """The ``place`` where the model last answered; None where that was never kept."""
    try:
        found = json.loads(journal.announced(fingerprint)[KEY])["place"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None


def unlisted(journal: Journal, fingerprint: str) -> str:
    """Why the model gives no log-probabilities, as this run knows; "" where it does, or nobody knows."""
    try:
        found = json.loads(journal.announced(fingerprint)[KEY])["unlisted"]
    except (ValueError, TypeError, KeyError):
        return ""
    return found if isinstance(found, str) else ""


def as_text(learned: Learned, where: str, sign: str, when: float) -> str:
    """``where``: a ``place``; ``sign``: what the server looked like; ``when``: seconds since the epoch."""
    values = asdict(learned)
    values["dialect"]["dropped"] = sorted(learned.dialect.dropped)
    return json.dumps({"place": where, "sign": sign, "when": when, **values}, sort_keys=True)


def from_text(text: str, sign: str, now: float) -> Learned:
    """What is still good of ``as_text``; nothing, where it is old, another server's, or no such text."""
    try:
        values: dict[str, Any] = json.loads(text)
        del values["place"]
        if values.pop("sign") != sign or not 0 <= now - values.pop("when") <= FRESH:
            return NOTHING
        dialect, prefill, first = values.pop("dialect"), values.pop("prefill"), values.pop("first")
        return Learned(
            Dialect(**{**dialect, "dropped": frozenset(dialect["dropped"])}),
            Prefill(**prefill) if prefill else None,
            first=(str(first[0]), float(first[1])) if first else None,
            **values,
        )
    except (ValueError, TypeError, KeyError, AttributeError):  # written otherwise, or damaged
        return NOTHING


def tell_changed(name: str, url: str) -> None:
    _LOG.warning(
        "%s at %s answers otherwise than when this run learned what it takes; learned again", name, url
    )
