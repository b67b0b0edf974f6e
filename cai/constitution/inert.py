"""What in a response looks like the labeler's own prompt, and how it is shown without its effect.

A response may hold an option of its own ("(A) …"), the beginning of the answer that a labeler is to give, or
a further turn of the conversation. In the labeler's prompt that is one more option, or a verdict. Shown
``inert`` it has the same words without the brackets and colons that make it a frame; a response without any
of it is shown as it is, byte for byte.

What this does not do: words that speak to a judge ("I deserve the better mark") stay, and a good answer
behind a bad one is still there to be read. ``cai monitor`` counts responses with such marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Stands for a value when a template is rendered to see what is left.
SENTINEL = "\x00value\x00"

_GAP = "[\\s\u200b-\u200d\u2060\ufeff]*"
_EDGES = "()\uff08\uff09[]{}<>:\uff1a \t*_\"'\u200b\u200c\u200d\u2060\ufeff"
# Options in the forms that judges know, whatever the run's own template says. "P(A)" is none.
_OPTION = f"(?<!\\w)[(\uff08]{_GAP}[AB]{_GAP}[)\uff09]|\\b[Oo]ption [AB] ?[:\uff1a]"
_ROLE = "^[ \t]*(?:Human|User|Assistant|System) ?[:\uff1a]"
_VERDICT = (
    "\\b[Tt]he (?:better|best|preferred|correct) (?:option|response|answer) is:?"
    "[ \t]*[(\uff08\"']?[AB]\\b(?!['’-])[)\uff09\"']?"
    "|\\bAnswer Yes or No\\b"
)
#: Marks of a judge's prompt in general.
MARKS = re.compile(f"{_OPTION}|{_ROLE}|{_VERDICT}", re.MULTILINE)
_EITHER = re.compile(f"{_OPTION}|[(\uff08]{_GAP}[AB]\\b")  # within a mark, an open bracket is one too


def talks_to_judge(text: str) -> bool:
    """Whether a response holds marks of a judge's prompt: an option, a verdict, a further turn."""
    return bool(MARKS.search(text))


def marks_of(prompts: Iterable[str]) -> re.Pattern[str]:
    """``MARKS`` and those of the templates in use, from their text with ``SENTINEL`` for every value.

    A mark is what stands before a value on its line ("(A)", "Response 1:"), or a line without a value, where
    ``inert`` would change it.
    """
    pieces = {line.partition(SENTINEL)[0].strip() for prompt in prompts for line in prompt.splitlines()}
    own = sorted((piece for piece in pieces if _bare(piece) != piece), key=lambda piece: (-len(piece), piece))
    patterns = [r"\s+".join(map(re.escape, piece.split())) for piece in own]
    starts = [rf"(?<!\w){pattern}" for pattern in patterns]
    return re.compile("|".join([*starts, MARKS.pattern]), re.MULTILINE)


def inert(text: str, marks: re.Pattern[str] = MARKS) -> str:
    """``text`` with every mark reduced to its words: "(A)" to "A", "Human:" to "Human"."""

    def words(match: re.Match[str]) -> str:
        bare = _bare(match[0])
        glued = match.string[match.end() : match.end() + 1].isalnum() and not match[0].endswith(bare)
        return f"{bare} " if glued else bare

    while (shown := marks.sub(words, text)) != text:  # "((A))" holds another one once the first is gone
        text = shown
    return text


def _bare(mark: str) -> str:
    """A mark without brackets and colons at its edges and around its letters."""
    return _EITHER.sub(lambda option: option[0].strip(_EDGES), mark).strip(_EDGES)
