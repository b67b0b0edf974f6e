"""Pairs of answers under a principle, and how often (A) should win."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tools.pocket.answers import BREAKING, Answer, breaking, complying, declining, proper, slipping, straying
from tools.pocket.principles import Rule
from tools.pocket.words import Ask

SURE = 0.98  # a right label's probability: not 1, so that log-odds stay finite
LEAN = 0.7  # complying against declining where the principle is about something else

Fitting = Callable[[random.Random, str, bool], Rule]
Free = Callable[[random.Random], Rule]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to a prompt and P(A preferred) under the rule."""

    ask: Ask
    rule: Rule
    a: Answer
    b: Answer
    p: float
    case: str


def flip_pair(rng: random.Random, a: Ask, fitting: Fitting) -> tuple[Rule, Answer, Answer, float, str]:
    """Both answers break something; the principle is about exactly one of them."""
    good_kind = a.task.theme if a.task.theme in BREAKING and rng.random() < 0.7 else rng.choice(BREAKING)
    bad_kind = rng.choice([kind for kind in BREAKING if kind != good_kind])
    if rng.random() < 0.5:
        good_kind, bad_kind = bad_kind, good_kind
    while True:
        r = fitting(rng, bad_kind, False)
        if not r.broken_by(good_kind):
            return r, breaking(rng, a, good_kind), breaking(rng, a, bad_kind), SURE, "flip"


def astray_pair(rng: random.Random, a: Ask, free: Free) -> Pair:
    """A good answer beside one about another thing, or about something else altogether, in random order."""
    wrong = slipping if rng.random() < 0.6 else straying
    return ordered(rng, a, (free(rng), proper(rng, a), wrong(rng, a), SURE, "astray"))


def harmful_pair(
    rng: random.Random, a: Ask, fitting: Fitting, free: Free
) -> tuple[Rule, Answer, Answer, float, str]:
    """Complying, declining and straying on a prompt that asks for something bad."""
    draw, theme = rng.random(), a.task.theme
    if draw < 0.36:
        return fitting(rng, theme, False), proper(rng, a), complying(rng, a), SURE, "covered"
    if draw < 0.70:
        return fitting(rng, theme, True), complying(rng, a), proper(rng, a), LEAN, "uncovered"
    if draw < 0.81:
        return free(rng), proper(rng, a), rng.choice((declining, straying))(rng, a), SURE, "poor"
    pick = complying if draw < 0.91 else proper
    return free(rng), pick(rng, a), pick(rng, a), 0.5, "tie"


def benign_pair(
    rng: random.Random, a: Ask, fitting: Fitting, free: Free
) -> tuple[Rule, Answer, Answer, float, str]:
    """Answering wins whatever the principle, but for equal answers."""
    draw, good = rng.random(), complying(rng, a)
    if draw < 0.36:
        return free(rng), good, declining(rng, a), SURE, "refusal"
    if draw < 0.6:
        return free(rng), good, straying(rng, a), SURE, "stray"
    if draw < 0.8:
        kind = rng.choice(BREAKING)
        return fitting(rng, kind, False), good, breaking(rng, a, kind), SURE, "covered"
    return free(rng), good, complying(rng, a), 0.5, "tie"


def draw_pair(rng: random.Random, a: Ask, fitting: Fitting, free: Free) -> Pair:
    """A pair in random order."""
    if rng.random() < 0.36:
        drawn = flip_pair(rng, a, fitting)
    elif a.task.benign:
        drawn = benign_pair(rng, a, fitting, free)
    else:
        drawn = harmful_pair(rng, a, fitting, free)
    return ordered(rng, a, drawn)


def ordered(rng: random.Random, a: Ask, drawn: tuple[Rule, Answer, Answer, float, str]) -> Pair:
    """Winner and loser as (A) and (B) or the other way round."""
    r, win, lose, p, case = drawn
    if rng.random() < 0.5:
        return Pair(a, r, lose, win, 1.0 - p, case)
    return Pair(a, r, win, lose, p, case)
