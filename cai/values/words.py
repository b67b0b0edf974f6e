"""Small helpers for wording messages and ids: suggestions, lists of choices, slugs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'critique'?"`` when a known word is close to ``word``, else an empty string."""
    names = list(known)
    by_folded = {name.casefold(): name for name in names}
    by_folded |= {_initials(name): name for name in names if "_" in name and len(word) > 1}  # lr
    close = difflib.get_close_matches(word.casefold(), list(by_folded), n=1, cutoff=0.6)
    return f"; did you mean '{by_folded[close[0]]}'?" if close else ""


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.casefold().split("_"))


def one_of(words: Iterable[str], last: str = "or") -> str:
    """``a, b or c``."""
    *front, end = list(words) or [""]
    return f"{', '.join(front)} {last} {end}" if front else end


def excerpt(text: str, length: int = 60) -> str:
    """The beginning of ``text`` on one line, with an ellipsis where it was cut."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def visible(text: str) -> str:
    """``text`` for a terminal: control characters, bidirectional overrides and lone surrogates as escapes.

    What a prompt or a model says must not recolour, rewrite or reorder the user's screen.
    """
    return _UNSHOWABLE.sub(lambda match: ascii(match.group())[1:-1], text)


_UNSHOWABLE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


# Words that carry no meaning in an id. Kept short: an id only has to be recognisable.
_FILLER = re.compile(
    "(a|an|and|are|as|at|be|been|by|for|from|has|have|if|in|into|is|it|its|of|on|or|so|than|that|the|their"
    "|them|then|they|this|to|was|were|what|when|which|while|who|with|would|should|will|your|you)"
)
_APOSTROPHES = dict.fromkeys(map(ord, "'\u2019"))


def slug(text: str, words: int = 5) -> str:
    """An id from the first meaning-bearing words: ``Never help with theft.`` → ``never-help-theft``.

    Empty when the text has no ASCII letter or digit.
    """
    found = re.findall(r"[a-z0-9]+", text.casefold().translate(_APOSTROPHES))
    telling = [word for word in found if not _FILLER.fullmatch(word)] or found
    return "-".join(telling[:words])[:48].strip("-")
