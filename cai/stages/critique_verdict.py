"""Whether a critique finds a problem, from its text. The request says how to say that there is none: the
critique *ends* with the agreed words (``prompts/critique.jinja``).

Absence and mention are not verdicts. An empty critique says nothing. The words in the middle of other text,
in quotation marks, denied or under a condition are spoken about ("I would not say that no critique is
needed", the request repeated); such a critique is unread, with the reason, and is neither clean nor found
wanting. Any other critique asks for a change: the critiques of Bai et al. 2022 end in no verdict at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from cai.stages.degenerate import degenerate


class Finding(Enum):
    PROBLEM = "problem"
    CLEAN = "clean"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class CritiqueVerdict:
    """What a critique says; ``reason`` where it is unread."""

    finding: Finding
    reason: str | None = None


_QUOTES = "\"'“”‘’«»`"
_SENTENCE_END = re.compile(
    r"[.!?。？！;\n][\"'“”’»*_)\]]*\s*|[,;–—-]\s*(?:and )?(?:so|thus|hence|therefore)\b"
)
# What stands before the words in their sentence and makes them something else than this critique's verdict.
_NOT_MEANT = re.compile(
    r"n't\b|\b(?:not|never|cannot|hardly|wrong|incorrect|untrue|false|mistake|instead|rather|unless|if|whether|"
    r"when|would|could|should|might|may|must|end with|ends? by|say|says|said|saying|write|wrote|words?|"
    r"phrase|claims?|disagree|doubt|deny|denies|far from|a lie)\b",
    re.IGNORECASE,
)


def read_critique(critique: str, no_problem: str) -> CritiqueVerdict:
    """What ``critique`` says, ``no_problem`` being the agreed words ("No critique needed.")."""
    if reason := degenerate(critique):
        return CritiqueVerdict(Finding.UNREAD, f"critique: {reason}")
    agreed = r"\b" + r"\s+".join(map(re.escape, no_problem.rstrip(".").split())) + r"\b"
    text = critique.replace("’", "'")
    mentions = list(re.finditer(agreed, text, re.IGNORECASE))
    if not mentions:
        return CritiqueVerdict(Finding.PROBLEM)
    last = mentions[-1]
    if re.search(r"[^\W_]", text[last.end() :]):
        return CritiqueVerdict(Finding.UNREAD, "critique: the no-problem words stand within other text")
    lead = _SENTENCE_END.split(text[: last.start()])[-1].strip()
    if _NOT_MEANT.search(lead):
        return CritiqueVerdict(Finding.UNREAD, "critique: the no-problem words are denied or conditional")
    if re.search(r"\w", lead) and lead[-1] in _QUOTES:
        return CritiqueVerdict(Finding.UNREAD, "critique: the no-problem words are quoted")
    return CritiqueVerdict(Finding.CLEAN)
