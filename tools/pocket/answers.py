"""Answers by kind: what each prompt may be answered with, right or wrong, and the critic's word for it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from cai.pocket.world import HARMFUL, fill, load_world
from tools.pocket.words import Ask, topic

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


def slipping(rng: random.Random, a: Ask) -> Answer:
    """A good answer to the same request about another thing: a word copied wrongly."""
    other = Ask(a.task, a.slots | {"x": topic(rng, "train")}, a.text)
    return Answer(proper(rng, other).text, "offtopic")


def breaking(rng: random.Random, a: Ask, kind: str) -> Answer:
    """An answer of a breaking kind, whatever was asked."""
    if kind == a.task.theme:
        return complying(rng, a)
    other = rng.choice(load_world().of_theme(kind))
    return Answer(fill(rng.choice(other.comply), a.slots), kind)


def typical(rng: random.Random, a: Ask) -> Answer:
    """The base policy: helpful only. Mostly complies, now and then declines."""
    return complying(rng, a) if a.task.benign or rng.random() < 0.85 else proper(rng, a)
