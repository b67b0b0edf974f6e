"""Where a completion's thought ends and its answer begins.

Models mark thoughts with control tokens of many shapes, some of which vanish when ids are decoded. So the
thought is taken out of the token ids, by the markers of the model's own vocabulary; markers that are plain
text to a tokenizer are looked for in the decoded text. A thought that never ends leaves no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: How published models write thoughts. Vocabularies may hold more (``pairs_of``).
MARKERS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),  # Kimi, newer
    ("<|channel>", "<channel|>"),  # Gemma 4
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
)
_NAME = re.compile("think|thought|reason", re.IGNORECASE)
_TURNED = (("START", "END"), ("start", "end"), ("BEGIN", "END"), ("begin", "end"), ("open", "close"))
_END = "(?:" + "|".join(re.escape(end) for _, end in MARKERS) + ")"
_LONE = re.compile(  # at an end of a line, or between two words that it parts, neither quoting it
    rf"(?:^|\n)[ \t]*{_END}|{_END}[ \t]*(?:\n|$)|(?<=[^\s`'\"“(\[]){_END}(?=[^\s`'\"”)\]])"
)


@dataclass(frozen=True, slots=True)
class Markers:
    """The markers of one template: those that are control tokens, and those that are text to its tokenizer.

    Both as (beginning, end). ``named`` are the textual ends that the template itself prints or reads: one of
    these without a beginning ends a thought that began before the answer.
    """

    control: tuple[tuple[str, str], ...] = ()
    text: tuple[tuple[str, str], ...] = ()
    named: tuple[str, ...] = ()


def pairs_of(control_tokens: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """``MARKERS``, and the pairs among ``control_tokens`` that are called a thought in the same manner."""
    known = set(control_tokens)
    derived = [
        (token, end)
        for token in sorted(known)
        if _NAME.search(token)
        for end in _ends(token)
        if end in known and end != token and (token, end) not in MARKERS
    ]
    return (*MARKERS, *dict.fromkeys(derived))


def _ends(token: str) -> list[str]:
    slashed = re.sub(r"^([<\[(◁|]+)", r"\1/", token)
    return [slashed, *(token.replace(first, last) for first, last in _TURNED if first in token)]


def left_open(text: str, pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The pair of the thought that ``text`` begins and does not end."""
    for beginning, end in pairs:
        if beginning in text and end not in text[text.rindex(beginning) :]:
            return beginning, end
    return None


def without_thoughts(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """``text`` less every whole thought in it."""
    for beginning, end in pairs:
        text = re.sub(re.escape(beginning) + ".*?" + re.escape(end), "", text, flags=re.DOTALL)
    return text


def spans(marked: str, pairs: Sequence[tuple[str, str]], lone: bool) -> list[tuple[int, int]] | None:
    """Places of the thoughts in ``marked``; None where the last one never ends.

    With ``lone``, an end without a beginning is that of a thought that began before the text.
    """
    if not pairs:
        return []
    ends = dict(pairs)
    starts = {end: beginning for beginning, end in pairs}
    pattern = "|".join(map(re.escape, sorted({*ends, *starts}, key=len, reverse=True)))
    found: list[tuple[int, int]] = []
    begun: re.Match[str] | None = None
    for match in re.finditer(pattern, marked):
        if begun is None and match.group() in ends:
            begun = match
        elif begun is not None and match.group() == ends[begun.group()]:
            found.append((begun.start(), match.end()))
            begun = None
        elif begun is None and lone and not found:
            found.append((0, match.end()))
    return None if begun is not None else found


def strip_thinking(text: str, markers: Markers | None = None) -> tuple[str, bool]:
    """``text`` without the thought at its beginning, and whether that was cut off.

    Where a thought never ends there is no answer: ("", True). Without ``markers``, as for a server's text,
    an end that stands alone ends a thought only at the beginning or end of a line, or attached to words on
    both sides: between spaces or in quotes it is a mention.
    """
    body = text.lstrip()
    for beginning, end in MARKERS if markers is None else markers.text:
        if body.startswith(beginning):
            _, closed, answer = body[len(beginning) :].partition(end)
            return answer.lstrip(), not closed
    if markers is None:
        lone = _LONE.search(text)
        return (text[lone.end() :].lstrip(), False) if lone else (text, False)
    for end in markers.named:
        _, closed, answer = text.partition(end)
        if closed:
            return answer.lstrip(), False
    return text, False
