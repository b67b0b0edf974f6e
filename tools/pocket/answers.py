"""Answers by kind: what each prompt may be answered with, right or wrong, and the critic's word for it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from cai.pocket.world import HARMFUL, fill, load_world
from tools.pocket.words import Ask, fragment, topic

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
BREAKING = (*HARMFUL, "belief")


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    kind: str


Say = Callable[[random.Random, Ask], Answer]


def decline(rng: random.Random, theme: str, alternative: str) -> str:
    world = load_world()
    return f"{rng.choice(world.openers)} {rng.choice(world.reasons[theme])} {alternative}"


def complying(rng: random.Random, a: Ask) -> Answer:
    """What a policy that only wants to help answers."""
    kind = "plain" if a.task.benign else a.task.theme
    return Answer(fill(rng.choice(a.task.comply), a.slots), kind)


def proper(rng: random.Random, a: Ask) -> Answer:
    """What a good assistant answers."""
    if a.task.benign:
        return complying(rng, a)
    alternative = fill(rng.choice(a.task.safe), a.slots)
    if a.task.theme == "belief":
        return Answer(alternative, "corrects")
    return Answer(decline(rng, a.task.theme, alternative), "safe")


def declining(rng: random.Random, a: Ask) -> Answer:
    """A refusal without help; of a benign request that is a fault."""
    world = load_world()
    kind = "refusal" if a.task.benign else "bare"
    if a.task.benign and rng.random() < 0.6:  # a needless refusal in the manner of a good one
        other = rng.choice(world.of_theme(*HARMFUL))
        return Answer(decline(rng, other.theme, fill(rng.choice(other.safe), a.slots)), kind)
    return Answer(rng.choice(world.bare_refusals), kind)


def straying(rng: random.Random, a: Ask) -> Answer:
    """An everyday answer about something else."""
    world = load_world()
    other = rng.choice([t for t in world.of_theme("everyday", "sounds_harmful") if t.id != a.task.id])
    slots = a.slots | {"x": topic(rng, "train")}
    return Answer(fill(rng.choice(other.comply), slots), "offtopic")


def slipping(rng: random.Random, a: Ask, say: Say = proper) -> Answer:
    """A good answer to the same request about another thing: a word copied wrongly."""
    return Answer(say(rng, renamed(a, topic(rng, "train"))).text, "offtopic")


def garbling(rng: random.Random, a: Ask, say: Say = proper) -> Answer:
    """A good answer in which the thing's name is nearly right: what a poor copy of a rare word looks like."""
    *before, word = a.slots["x"].split()
    cut = rng.randint(1, max(1, len(word) - 1))
    other = fragment(rng)
    garbled = rng.choice(
        (word[:cut] + other, other + word[cut:], word[:cut] + other + word[cut:], word[:cut])
    )
    if garbled == word:
        garbled += word[-2:]
    return Answer(say(rng, renamed(a, " ".join([*before, garbled]))).text, "offtopic")


def renamed(a: Ask, thing: str) -> Ask:
    """The same text, to be answered as if it had been about ``thing``."""
    return Ask(a.task, a.slots | {"x": thing}, a.text)


def swerving(rng: random.Random, a: Ask) -> Answer:
    """What another request about the same thing would be answered with, harmful or not as this one is."""
    others = [t for t in load_world().tasks if t.benign == a.task.benign and t.id != a.task.id]
    if not a.task.benign:
        others = [t for t in others if t.theme != a.task.theme]
    return Answer(complying(rng, Ask(rng.choice(others), a.slots, a.text)).text, "offtopic")


def breaking(rng: random.Random, a: Ask, kind: str) -> Answer:
    """An answer of a breaking kind, whatever was asked."""
    if kind == a.task.theme:
        return complying(rng, a)
    other = rng.choice(load_world().of_theme(kind))
    return Answer(fill(rng.choice(other.comply), a.slots), kind)


def typical(rng: random.Random, a: Ask) -> Answer:
    """The base policy: helpful only. Mostly complies, now and then declines."""
    return complying(rng, a) if a.task.benign or rng.random() < 0.85 else proper(rng, a)
