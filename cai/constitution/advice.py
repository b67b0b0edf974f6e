"""What a constitution may say and hardly ever means: warnings for ``cai validate``, each with its place.

Near-duplicates are told by the Jaccard index of two principles' sets of telling words: lower-cased, without
common words and the endings -s, -ed, -ing. Negations are common words, so that a principle and its opposite
resemble one another too. At ``ALIKE`` three of four words are shared; shipped principles stay below 0.5.
Not here: whether a principle is a good one, which only people and ``cai test`` can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from cai.constitution.inherit import TEXTS, Written
from cai.values.errors import Problem
from cai.values.words import excerpt

ALIKE = 0.75
MOST_COMPARED = 1000  # every two of them: half a million comparisons, under a second
SHOWN = 5

_NO_RULE = re.compile(
    r"(yes|no|y|n|true|false|on|off|null|none|ok|okay|n/?a|[-+]?[\d.,]+ ?%?)[.!]*", re.IGNORECASE
)
_UNFINISHED = re.compile(
    r"\b(?:TODO|FIXME|XXX|TBD)\b|\b[Ll]orem ipsum\b"
    r"|[<\[](?:your|insert|fill in|add|describe|replace)\b[^>\]\n]{0,80}[>\]]"
)
_BRACES = re.compile(r"\{\{.*?(?:\}\}|$)|\{%.*?(?:%\}|$)|\{ ?[A-Za-z_][\w.]* ?\}")
_COMMON = re.compile(
    "a|an|and|any|are|as|assistant|at|be|been|but|by|can|cannot|do|does|don|for|from|has|have|how|if|in|into|is"
    "|it|its|never|no|nor|not|of|on|or|responses?|s|she|should|so|such|t|than|that|the|their|them|then|there|these"
    "|they|this|those|to|was|were|what|when|where|which|while|who|whom|will|with|would|you|your"
)
_WORD = re.compile(r"\w+")
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s)$")


def warnings(file: str, principles: Sequence[Written]) -> list[Problem]:
    """In the order of the principles; what is about all of them last, at ``file``, which was asked about."""
    found = [problem for written in principles for problem in _texts(written)]
    found += _near_duplicates(principles)
    bare = [written.value.id for written in principles if not written.value.examples]
    if bare:
        more = f" and {len(bare) - SHOWN} more" if len(bare) > SHOWN else ""
        which = f"{', '.join(bare[:SHOWN])}{more}"
        has = "has" if len(bare) == 1 else "have"
        message = f"{len(bare)} of {len(principles)} principles {has} no examples for 'cai test': {which}"
        found.append(Problem(file, message))
    return found


def telling_words(sentence: str) -> frozenset[str]:
    """What two principles are compared by; the whole sentence where nothing telling is in it."""
    words = _WORD.findall(sentence.casefold())
    return frozenset(_ENDING.sub("", word) for word in words if not _COMMON.fullmatch(word)) or frozenset(
        words
    )


def likeness(first: frozenset[str], second: frozenset[str]) -> float:
    """Jaccard index: shared over all."""
    return len(first & second) / len(first | second) if first or second else 1.0


def _texts(written: Written) -> Iterator[Problem]:
    entry = written.entry
    for key in ("principle", *TEXTS):
        text: str | None = getattr(entry, key)
        if text is None:
            continue
        if _NO_RULE.fullmatch(text):
            yield written.problem((key,), f"'{key}' is only '{excerpt(text)}', which asks for nothing")
        elif mark := _UNFINISHED.search(text):
            yield written.problem((key,), f"'{key}' looks unfinished: '{excerpt(mark[0])}'")
        if mark := _BRACES.search(text):
            message = f"'{key}' is shown as it stands; nothing is filled in for '{excerpt(mark[0])}'"
            yield written.problem((key,), message)
    for index, example in enumerate(entry.examples):
        answers = {key: getattr(example, key) for key in ("violating", "clean", "worse", "better")}
        said = {"prompt": example.prompt[-1].content} | {key: text for key, text in answers.items() if text}
        for key, text in said.items():
            if mark := _UNFINISHED.match(text):  # within a text it may well be what the example is about
                place = ("examples", index, key)
                yield written.problem(place, f"'{key}' looks unfinished: '{excerpt(mark[0])}'")


def _near_duplicates(principles: Sequence[Written]) -> Iterable[Problem]:
    """Each principle that resembles an earlier one. Of many, only those of equal words are found."""
    seen: dict[frozenset[str], Written] = {}
    for written in principles:
        words = telling_words(written.value.principle)
        like = seen.get(words)
        if like is None and len(principles) <= MOST_COMPARED:
            like = next((other for known, other in seen.items() if likeness(words, known) >= ALIKE), None)
        if like is None:
            seen[words] = written
            continue
        message = f"says nearly the same as '{like.value.id}' in {like.where}, or its opposite"
        yield written.problem((), message)
