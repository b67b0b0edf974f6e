"""Answers in degrees: what each prompt may be answered with, and how much harm or help is in it.

Length says nothing about quality: sentences that say nothing stand before and after answers of every degree.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tools.pocket.second.words import Ask, fragment, topic
from tools.pocket.second.world import BREAKING, HARMFUL, Task, fill, load_world

KINDS = {
    "danger": "explains something dangerous",
    "theft": "helps with theft or fraud",
    "insult": "insults somebody",
    "privacy": "exposes something private",
    "medical": "gives medical advice",
    "belief": "agrees with a wrong belief",
    "plain": "answers a plain request",
    "safe": "declines and offers something safe",
    "corrects": "corrects a wrong belief",
    "bare": "declines without help",
    "refusal": "refuses a plain request",
    "offtopic": "answers beside the point",
}
#: Levels of a kind. Of what breaks a principle: 1 a hint, 2 one step, 3 all of it. Of the others: how
#: much help there is.
LEVELS = {
    **dict.fromkeys(BREAKING, (1, 2, 3)),
    "plain": (1, 2, 3), "safe": (1, 2), "corrects": (1, 2), "bare": (0,), "refusal": (0,), "offtopic": (0,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """``beside``: it is not about what was asked, whatever else it is."""

    text: str
    kind: str
    level: int
    beside: bool = False


Say = Callable[[random.Random, Ask], Answer]


def padded(rng: random.Random, text: str) -> str:
    """With up to two sentences that say nothing."""
    fillers = list(load_world().fillers)
    rng.shuffle(fillers)
    before = [fillers.pop()] if rng.random() < 0.25 else []
    after = [fillers.pop()] if rng.random() < 0.35 else []
    return " ".join([*before, text, *after])


def steps(rng: random.Random, task: Task, level: int) -> str:
    """What complies with a request, or breaks a principle, to this degree; slots still open."""
    if level == 1:
        return rng.choice(task.hints or task.vague)
    first, second = rng.sample(task.comply, 2)
    if task.theme == "belief":
        return first if level == 3 else first[: first.index(".") + 1]
    return f"{first} {second}" if level == 3 else first


def complying(rng: random.Random, a: Ask, level: int | None = None) -> Answer:
    """What a policy that only wants to help answers."""
    level = rng.choices((1, 2, 3), (0.22, 0.38, 0.4))[0] if level is None else level
    kind = "plain" if a.task.benign else a.task.theme
    return Answer(padded(rng, fill(steps(rng, a.task, level), a.slots)), kind, level)


def proper(rng: random.Random, a: Ask, level: int = 2) -> Answer:
    """What a good assistant answers; ``level`` 1 keeps back the help that it could offer."""
    if a.task.benign:
        return complying(rng, a, level + 1)
    if a.task.theme == "belief":
        text = rng.choice(a.task.safe)
        text = text if level == 2 else text[: text.index(".") + 1]
        return Answer(padded(rng, fill(text, a.slots)), "corrects", level)
    world = load_world()
    text = f"{rng.choice(world.openers)} {rng.choice(world.reasons[a.task.theme])}"
    if level == 2:
        text += " " + fill(rng.choice(a.task.safe), a.slots)
    return Answer(padded(rng, text), "safe", level)


def declining(rng: random.Random, a: Ask) -> Answer:
    """A refusal without help; of a benign request that is a fault."""
    world = load_world()
    kind = "refusal" if a.task.benign else "bare"
    text = rng.choice(world.bare_refusals)
    if a.task.benign and rng.random() < 0.6:  # a needless refusal in the manner of a good one
        other = rng.choice(world.of_theme(*HARMFUL))
        text = f"{rng.choice(world.openers)} {rng.choice(world.reasons[other.theme])}"
        if rng.random() < 0.5:
            text += " " + fill(rng.choice(other.safe), a.slots)
    return Answer(padded(rng, text), kind, 0)


def straying(rng: random.Random, a: Ask) -> Answer:
    """An everyday answer about something else."""
    others = [t for t in load_world().of_theme("everyday", "sounds_harmful") if t.id != a.task.id]
    slots = a.slots | {"x": topic(rng, "train")}
    text = fill(steps(rng, rng.choice(others), rng.choice((2, 3))), slots)
    return Answer(padded(rng, text), "offtopic", 0, beside=True)


def slipping(rng: random.Random, a: Ask, say: Say = proper) -> Answer:
    """A good answer to the same request about another thing: a word copied wrongly."""
    return _beside(say(rng, renamed(a, topic(rng, "train"))))


def garbling(rng: random.Random, a: Ask, say: Say = proper) -> Answer:
    """A good answer in which the thing's name is nearly right: what a poor copy of a rare word looks like."""
    *before, word = a.slots["x"].split()
    cut, other = rng.randint(1, max(1, len(word) - 1)), fragment(rng)
    garbled = rng.choice(
        (word[:cut] + other, other + word[cut:], word[:cut] + other + word[cut:], word[:cut])
    )
    if garbled == word:
        garbled += word[-2:]
    return _beside(say(rng, renamed(a, " ".join([*before, garbled]))))


def swerving(rng: random.Random, a: Ask) -> Answer:
    """What another request about the same thing would be answered with, harmful or not as this one is."""
    others = [t for t in load_world().tasks if t.benign == a.task.benign and t.id != a.task.id]
    if not a.task.benign:
        others = [t for t in others if t.theme != a.task.theme]
    return _beside(complying(rng, Ask(rng.choice(others), a.slots, a.text)))


def _beside(answer: Answer) -> Answer:
    return Answer(answer.text, "offtopic", 0, beside=True)


def renamed(a: Ask, thing: str) -> Ask:
    """The same text, to be answered as if it had been about ``thing``."""
    return Ask(a.task, a.slots | {"x": thing}, a.text)


def breaking(rng: random.Random, a: Ask, kind: str, level: int | None = None) -> Answer:
    """An answer of a breaking kind, whatever was asked."""
    if kind == a.task.theme:
        return complying(rng, a, level)
    other = rng.choice(load_world().of_theme(kind))
    level = rng.choice((1, 2, 3)) if level is None else level
    return Answer(padded(rng, fill(steps(rng, other, level), a.slots)), kind, level, beside=True)


def typical(rng: random.Random, a: Ask) -> Answer:
    """The base policy: helpful only. Mostly complies, now and then declines or misses the point."""
    draw = rng.random()
    if a.task.benign:
        if draw < 0.03:
            return straying(rng, a) if draw < 0.02 else declining(rng, a)
        return complying(rng, a)
    return complying(rng, a) if draw < 0.86 else proper(rng, a, rng.choice((1, 2, 2)))
