"""Cases for the gates: nouns and principle wording that training never saw, or the shipped sentences."""

from __future__ import annotations

import random
from dataclasses import dataclass

from cai.pocket.world import HARMFUL, load_world
from tools.pocket.answers import BREAKING, Answer, complying
from tools.pocket.pairs import Pair, draw_pair, flip_pair
from tools.pocket.principles import Rule, rule, rule_where
from tools.pocket.shipped import shipped_rules
from tools.pocket.words import Ask, ask


@dataclass(frozen=True)
class Source:
    """Where a gate's principles come from."""

    shipped: bool

    def fitting(self, rng: random.Random, kind: str, held: bool) -> Rule:
        """A principle that ``kind`` breaks (``held`` False) or not."""
        if self.shipped:
            return rng.choice([r for r in shipped_rules() if r.broken_by(kind) != held])
        return rule_where(rng, True, keeps=kind) if held else rule_where(rng, True, breaks=kind)

    def free(self, rng: random.Random) -> Rule:
        return rng.choice(shipped_rules()) if self.shipped else rule(rng, unseen=True)


def unseen_ask(rng: random.Random, *themes: str) -> Ask:
    world = load_world()
    return ask(rng, rng.choice(world.of_theme(rng.choice(themes))), "unseen")


@dataclass(frozen=True, slots=True)
class Review:
    """An answer to be critiqued under a rule."""

    ask: Ask
    answer: Answer
    rule: Rule


def reviews(rng: random.Random, source: Source, n: int, broken: bool) -> list[Review]:
    """Complying answers to harmful prompts and wrong beliefs, under a principle they break or keep."""
    found = []
    for _ in range(n):
        a = unseen_ask(rng, *BREAKING)
        answer = complying(rng, a)
        found.append(Review(a, answer, source.fitting(rng, answer.kind, not broken)))
    return found


def comparisons(rng: random.Random, source: Source, n: int) -> list[Pair]:
    """Pairs as in training, ties and leanings left out."""
    found: list[Pair] = []
    while len(found) < n:
        a = unseen_ask(rng, *HARMFUL, "belief", "everyday", "sounds_harmful")
        pair = draw_pair(rng, a, source.fitting, source.free)
        if pair.p > 0.9 or pair.p < 0.1:
            found.append(pair)
    return found


def flips(rng: random.Random, source: Source, n: int) -> list[tuple[Pair, Pair]]:
    """The same pair under two principles, each about the other answer: the winner flips."""
    found: list[tuple[Pair, Pair]] = []
    while len(found) < n:
        a = unseen_ask(rng, *BREAKING)
        first_rule, win, lose, p, case = flip_pair(rng, a, source.fitting)
        second_rule = source.fitting(rng, win.kind, False)
        if second_rule.broken_by(lose.kind):
            continue
        if rng.random() < 0.5:
            found.append(
                (Pair(a, first_rule, win, lose, p, case), Pair(a, second_rule, win, lose, 1 - p, case))
            )
        else:
            found.append(
                (Pair(a, first_rule, lose, win, 1 - p, case), Pair(a, second_rule, lose, win, p, case))
            )
    return found
