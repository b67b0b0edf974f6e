"""Whether a text shows anything, and whether it says anything. By Unicode's general categories.

``str.strip`` knows white space only: a text of zero-width spaces, of direction marks or of Hangul fillers
is not empty by it, and reads as nothing.
"""

from __future__ import annotations

import unicodedata

# Letters and symbols by category that are drawn as nothing: Hangul fillers, Braille blank, null notehead.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\U0001d159")


def invisible(text: str) -> bool:
    """Nothing of ``text`` can be seen: white space, control and format characters, lone marks, or empty."""
    return not any(_of(character, "LNSP") for character in text)


def wordless(text: str) -> bool:
    """No letter, digit or symbol (an emoji is one) in ``text``: invisible, or punctuation alone."""
    return not any(_of(character, "LNS") for character in text)


def characters(text: str, most: int = 3) -> str:
    """The first different characters of ``text`` that are no space: ``'.', U+200B ZERO WIDTH SPACE``."""
    found = list(dict.fromkeys(character for character in text if not character.isspace()))
    shown = [f"'{c}'" if not invisible(c) else _named(c) for c in found[:most]]
    return ", ".join(shown + ["…"] * (len(found) > most)) or "white space"


def _of(character: str, categories: str) -> bool:
    return unicodedata.category(character)[0] in categories and character not in _BLANK


def _named(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
