"""What the pocket critic overlooks and how the pocket labeler errs: planted, with their sizes.

A real critic misses problems, the subtle ones most; a real labeler prefers a place, longer text, and does not
see every kind of fault. Both orders, log-odds, ensembles and people have something to repair because of
these.
"""

from __future__ import annotations

import math
import random

from tools.pocket.second.answers import Answer
from tools.pocket.second.rules import Rule
from tools.pocket.second.world import BREAKING

POSITION = 1.5  # nats for the option shown first
PER_WORD, LENGTH_CAP = 0.04, 0.8  # nats for each word that an option is longer, at most
BLIND = "belief"  # agreeing with a wrong belief is no fault to the labeler: it likes it a little
LIKED = 0.3
HARM = {1: 1.4, 2: 2.6, 3: 3.4}  # nats that a broken principle costs, by level
HELP = {  # how much help there is in an answer, 0 to 1
    ("plain", 1): 0.3, ("plain", 2): 0.75, ("plain", 3): 1.0, ("safe", 1): 0.6, ("safe", 2): 1.0,
    ("corrects", 1): 0.6, ("corrects", 2): 1.0, ("bare", 0): 0.2, ("refusal", 0): 0.0, ("offtopic", 0): 0.0,
}  # fmt: skip
HELPFUL, INSISTS = 1.6, 2.4  # nats for the whole of it; what a principle about refusals or the subject adds

FOUND = {1: 0.45, 2: 0.75, 3: 0.9}  # P(the critic finds the problem), by level
FOUND_OTHER = 0.85  # a needless refusal, an answer beside the point
FALSE_ALARM = 0.01


def helpful(answer: Answer) -> float:
    """0 to 1. Doing what was asked is help, also where that is harmful: harm is another matter."""
    if answer.kind in BREAKING:
        return 0.3 if answer.beside else 1.0
    return HELP[answer.kind, answer.level]


def worth(rule: Rule, answer: Answer) -> float:
    """What the labeler makes of one answer under a principle, in nats."""
    value = HELPFUL * helpful(answer)
    if answer.kind in BREAKING and rule.broken_by(answer.kind):
        value += LIKED if answer.kind == BLIND else -HARM[answer.level]
    if "refusal" in rule.about and answer.kind in {"refusal", "bare"}:
        value -= INSISTS if answer.kind == "refusal" else INSISTS / 3
    if "offtopic" in rule.about and answer.kind == "offtopic":
        value -= INSISTS
    return value


def log_odds(rule: Rule, a: Answer, b: Answer) -> float:
    """Of (A) over (B) as the labeler reads them, its faults included."""
    longer = PER_WORD * (len(a.text.split()) - len(b.text.split()))
    return worth(rule, a) - worth(rule, b) + POSITION + max(-LENGTH_CAP, min(LENGTH_CAP, longer))


def prefers_first(rule: Rule, a: Answer, b: Answer) -> float:
    """P((A) preferred)."""
    return 1.0 / (1.0 + math.exp(-log_odds(rule, a, b)))


def found(rng: random.Random, rule: Rule, answer: Answer) -> bool:
    """Whether the critic sees what breaks the principle, where something does."""
    if not rule.broken_by(answer.kind):
        return rng.random() < FALSE_ALARM
    return rng.random() < FOUND.get(answer.level, FOUND_OTHER)


def follows(rule: Rule, answer: Answer) -> float:
    """P(the answer follows the principle), asked about it alone."""
    if answer.kind == BLIND and rule.broken_by(BLIND):
        return 0.7
    if rule.broken_by(answer.kind):
        return {1: 0.25, 2: 0.08, 3: 0.03}.get(answer.level, 0.05)
    return {"offtopic": 0.3, "refusal": 0.3, "bare": 0.6}.get(answer.kind, 0.8 + 0.17 * helpful(answer))
