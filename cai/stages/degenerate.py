"""Responses that say nothing, told by rule from the text alone, before any judge is asked.

A labeler compares what it is shown and must name a letter: an empty answer or a lone ``:`` beats a long one
often enough (docs/lab-notes.md, "Judges fooled"). What is called degenerate here answers nothing whatever the
question was. Short answers are answers: "No.", "4", "é", "👍" and "∞" stay.
"""

from __future__ import annotations

import re
import unicodedata

REPEATS = 4  # times a word must stand alone before it counts as repeated
RUN = 8  # times a single sign must
HEADING_WORDS = 6

_MARKUP = re.compile(r"<[^<>\n]{0,40}>|\[/?INST\]")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def degenerate(text: str) -> str | None:
    """Why ``text`` says nothing; None where it says something, however little.

    "empty": white space, control and other invisible characters alone. "markup only": tags without a text.
    "punctuation only": no letter, digit or picture. "one token repeated": a word four times or more, or a
    sign eight times, and nothing else. "a heading without a text": lines that end in a colon, of six words
    at most, and nothing below them ("Thought process:", "Sure, here is the answer:").
    """
    visible = "".join(c for c in text if unicodedata.category(c)[0] not in "CZ")
    if not visible:
        return "empty"
    bare = _MARKUP.sub(" ", text)
    if not any(_says(c) for c in bare):
        return "punctuation only" if any(_says(c) is False for c in bare) else "markup only"
    words = [word.casefold() for word in _WORD.findall(bare)]
    if len(words) >= REPEATS and len(set(words)) == 1:
        return "one token repeated"
    if len(words) == 1 and len(words[0]) >= RUN and len(set(words[0])) == 1 and not words[0].isdigit():
        return "one token repeated"
    lines = [line.strip(" \t*_#>`") for line in bare.splitlines() if line.strip()]
    if all(line.endswith((":", "：")) and len(_WORD.findall(line)) <= HEADING_WORDS for line in lines):
        return "a heading without a text"
    return None


def _says(character: str) -> bool | None:
    """Whether a character can be an answer; None of what cannot be seen.

    Letters, digits, pictures and mathematics can; punctuation, combining marks and the signs of ASCII cannot.
    """
    kind = unicodedata.category(character)[0]
    if kind in "CZ":
        return None
    return kind in "LN" or (kind == "S" and not character.isascii())
