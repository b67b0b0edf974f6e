"""A sampled reply → the one option that it names, or none. Strict: what can be read in two ways is no
verdict.

Read as a verdict: the option alone in any dress ("A", "(A)", "**A**", "A.", "Answer: A", "The better option
is (A)"), and the same at the beginning of a reply that goes on without naming the other option
("(A)\\n\\nIt is kinder."). A reply that was cut off may have gone on: it counts only where the option was
closed ("(A) bec"). Everything else abstains, a refusal and "both have merits" likewise. A tie is read where
one was offered.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache

from cai.stages.label_question import Question


class Verdict(Enum):
    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


_DRESS = r"[\s\"'“”‘’`*_#>\[({]*"
_CLOSE = r"[\s\"'“”‘’`*_\])}.:,;!]"
_LABEL = (
    r"(?:(?:my|the|your|final|correct|best|better|preferred)\s+)*"
    r"(?:answer|verdict|choice|judge?ment|decision|option|response)[\s*_]*(?:\s+is|[:=])[\s*_]*"
    r"(?:(?:the\s+)?(?:option|response)\s+)?"
)
_NOUN = r"(?:(?:option|response)\s+)?"
_TIE = re.compile(
    rf"{_DRESS}(?:{_LABEL})?{_DRESS}(?:it(?:'|’)?s\s+|it\s+is\s+|they\s+are\s+|there\s+is\s+)?(?:a\s+)?"
    r"(?:tie|draw|equal(?:ly\s+good)?|both|neither|no\s+preference|(?:about\s+)?the\s+same)"
    rf"{_CLOSE}*",
    re.IGNORECASE,
)


def read_verdict(reply: str, question: Question, prefill: str = "", cut_off: bool = False) -> Verdict | None:
    """The verdict of ``reply``, which goes on from ``prefill`` (or repeats it)."""
    begun = prefill.rstrip().rpartition("\n")[2]
    text = reply if not begun or begun in reply else begun + reply
    found = {
        verdict
        for verdict, option, other in (
            (Verdict.FIRST, *question.options),
            (Verdict.SECOND, *question.options[::-1]),
        )
        if _names(text.strip(), option, other, cut_off)
    }
    if question.ties and not found and _TIE.fullmatch(text.strip()) and not cut_off:
        return Verdict.TIE
    return found.pop() if len(found) == 1 else None


def _names(text: str, option: str, other: str, cut_off: bool) -> bool:
    begins = _beginning(option).match(text)
    if begins is None or (cut_off and not begins["close"].strip()):
        return False
    rest = text[begins.end() :]
    return not _mention(other).search(rest)


@cache
def _beginning(option: str) -> re.Pattern[str]:
    """The option in its dress at the beginning, closed by a mark, the line's end or the text's."""
    letter = len(option) == 1
    name = option if letter else rf"(?i:{option})"
    alone = rf"{option}|{option.lower()}(?=\W*$)" if letter else name
    # A letter that a word follows is an article: "A good answer". So a mark has to close it.
    mark = rf"(?P<close>{_CLOSE}*$|[ \t]*[\"'“”‘’`*_\])}}.:;!]+{_CLOSE}*|[ \t]*\n\s*"
    mark += ")" if letter else r"|,\s+)"
    return re.compile(rf"{_DRESS}(?i:{_LABEL}|{_NOUN}){_DRESS}(?:{alone})(?!['’]\w){mark}")


@cache
def _mention(option: str) -> re.Pattern[str]:
    """Anywhere: a letter by itself, a word in any case."""
    return re.compile(rf"(?<!\w){option}(?!\w)", 0 if len(option) == 1 else re.IGNORECASE)
