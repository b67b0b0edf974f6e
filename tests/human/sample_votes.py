"""Small votes for the tests about agreement, aggregation and mixing."""

from __future__ import annotations

from cai.values.types import Comparison, Judgement, Message, Preference, Prompt, Source


def pair(number: int, prompt: int | None = None, a: str = "yes", b: str = "no") -> Comparison:
    """A pair whose content depends on ``number`` alone; ``prompt`` lets several share a prompt."""
    asked = number if prompt is None else prompt
    messages = (Message("user", f"Question {asked}?"),)
    return Comparison(f"c{number}", Prompt(f"p{asked}", messages), f"{a} {number}", f"{b} {number}")


def vote(
    comparison: Comparison,
    who: str,
    p: float | None,
    question: str | None = None,
    *,
    a_first: bool | None = None,
) -> Preference:
    """A person's vote; ``a_first`` says which response was seen first, where that is known."""
    seen: tuple[Judgement, ...] = ()
    if a_first is not None or question is not None:
        asked, first = question or "preference", a_first is not False
        seen = (Judgement(asked, p if first else None, None if first else p),)
    unscored = "both bad" if p is None else None
    return Preference(comparison, p, Source("human", who), seen, unscored)


def label(comparison: Comparison, a_first: float, b_first: float | None = None, by: str = "m") -> Preference:
    """An AI label under the principle "kind", read in one order or both; all P are of ``a``."""
    judgement = Judgement("kind", a_first, b_first)
    return Preference(comparison, judgement.p, Source("ai", by), (judgement,))
