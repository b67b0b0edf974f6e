"""What a chat template prints around the assistant's turn: before the answer, and to end it.

A generation prompt may stop short of what stands before a finished answer: a space (Mistral), a channel
(``<|channel|>final<|message|>``), a recipient (`` to=user<|message|>``), an empty thought. Whatever it is,
the answer's row begins with it. It is read once per template, off the simplest conversation, so that an
answer's tokens never depend on what stands before the question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cai.chat.render import Piece, Renderer, Slot, TemplateRefusal
from cai.chat.thought import left_open, without_thoughts
from cai.chat.tokens import SafeTokenizer
from cai.values.types import Message

QUESTION = (Message("user", "?"),)
_ANSWERED = (*QUESTION, Message("assistant", "!"))
_ASKED_AGAIN = (*_ANSWERED, *QUESTION)


@dataclass(frozen=True, slots=True)
class Turn:
    """The assistant's turn: ``before`` + content as ``slot`` fills it + ``after``, then the ids ``end``.

    ``before`` is what stands between the generation prompt and the answer. ``announced`` (marked) is what of
    it a model has to have written before its words are an answer: a channel or a recipient, "" where there
    is none; ``lead`` the white space or words that then come first. ``end`` is empty where the template
    prints no control token there.
    """

    before: str
    announced: str
    lead: str
    slot: Slot
    after: str
    end: tuple[int, ...]


def read_turn(
    renderer: Renderer, safe: SafeTokenizer, pairs: Sequence[tuple[str, str]], bos: int | None
) -> Turn:
    """The assistant's turn of a template.

    Raises:
        TemplateRefusal: it takes no question with an answer, or announces an answer in a way to which its
            own generation prompt does not lead.
    """
    prompt = closed(renderer.pieces(QUESTION, True), pairs)
    answered = renderer.pieces(_ANSWERED, False)
    place = next(i for i, piece in enumerate(answered) if isinstance(piece, Slot) and piece.turn == 1)
    slot, tail = answered[place], safe.mark(str(answered[place + 1]))
    assert isinstance(slot, Slot)
    before = _before(prompt, answered[:place], pairs, safe)
    if not tail.strip():
        tail = _end_in_the_middle(renderer, safe)
    first = safe.first_control(tail)
    after = tail[: first[0]] if first else ""
    end: list[int] = []
    if not after.strip():
        while first is not None and (not end or first[0] == 0) and first[2] != bos:
            end.append(first[2])
            tail = tail[first[1] :]
            first = safe.first_control(tail)
    announced, lead = _announced(before, pairs, safe)
    return Turn(before, announced, lead, slot, after if end else "", tuple(end))


def closed(pieces: list[Piece], pairs: Sequence[tuple[str, str]]) -> list[Piece]:
    """A prompt's pieces, with the thought ended that its generation prompt begins.

    What follows is then the answer.
    """
    last = pieces[-1]
    if not isinstance(last, str) or (pair := left_open(last, pairs)) is None:
        return pieces
    return [*pieces[:-1], last.rstrip("\n") + closing(pair[1])]


def closing(end: str) -> str:
    """What ends an empty thought: in the manner of Qwen and DeepSeek on lines of its own."""
    return f"\n{end}\n\n" if end == "</think>" else end


def _before(
    prompt: list[Piece], finished: Sequence[Piece], pairs: Sequence[tuple[str, str]], safe: SafeTokenizer
) -> str:
    """What a finished conversation has between its generation prompt and its answer."""
    asks, tells = str(prompt[-1]), str(finished[-1])
    if list(finished[:-1]) == prompt[:-1] and tells.startswith(asks):
        return tells.removeprefix(asks)
    # The two disagree: harmless (white space, a thought), unless another marker announces the answer.
    thoughts = {safe.mark(marker) for pair in pairs for marker in pair}
    said, seen = (
        [part for part in safe.parts(safe.mark(text)) if safe.first_control(part) and part not in thoughts]
        for text in (asks, tells)
    )
    if seen and seen[-1:] != said[-1:]:
        raise TemplateRefusal(
            f"it prints {tells[-60:]!r} before a finished answer, but {asks[-60:]!r} where it asks for one"
        )
    return ""


def _announced(before: str, pairs: Sequence[tuple[str, str]], safe: SafeTokenizer) -> tuple[str, str]:
    """``before``, thoughts left out, up to its last control token (marked), and what follows that."""
    parts = safe.parts(safe.mark(without_thoughts(before, pairs)))
    last = max((i for i, part in enumerate(parts) if safe.first_control(part)), default=-1)
    return "".join(parts[: last + 1]).strip(), "".join(parts[last + 1 :])


def _end_in_the_middle(renderer: Renderer, safe: SafeTokenizer) -> str:
    """What ends an answer that a question follows, for templates that leave the last turn open; marked."""
    try:
        pieces = renderer.pieces(_ASKED_AGAIN, False)
    except TemplateRefusal:
        return ""
    places = [i for i, piece in enumerate(pieces) if isinstance(piece, Slot)]
    if len(places) != 3:
        return ""
    opening = safe.parts(safe.mark(str(pieces[places[0] - 1])))
    between = safe.parts(safe.mark(str(pieces[places[1] + 1])))
    shared = _shared(opening[::-1], between[::-1])  # what opens a user's turn does not end the answer
    return "".join(between[: len(between) - shared])


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two texts begin with alike."""
    both = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(both) if a != b), min(len(one), len(other)))


def announcement(announced: str) -> re.Pattern[str]:
    """``announced`` in a completion's marked text, with whatever white space."""
    return re.compile(r"\s*".join(map(re.escape, announced.split())))
