"""Principles in many words: a coverage (what breaks it) and a sentence composed from phrases."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cai.pocket.world import HARMFUL

NAMES = {
    "harm": "every kind of harm",
    "danger": "danger",
    "theft": "theft or fraud",
    "insult": "insults",
    "privacy": "private matters",
    "medical": "medical advice",
    "belief": "wrong beliefs",
    "refusal": "needless refusals",
    "offtopic": "answers beside the point",
}
SPECIFIC = (*HARMFUL, "belief", "refusal", "offtopic")
Coverage = frozenset[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A principle's sentence and what breaks it ("harm" stands for the five harmful themes)."""

    text: str
    about: Coverage

    def broken_by(self, kind: str) -> bool:
        return kind in self.about or ("harm" in self.about and kind in HARMFUL)

    @property
    def named(self) -> str:
        """What the principle is about, in the critic's words and always in the same order."""
        names = [name for key, name in NAMES.items() if key in self.about]
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


@cache
def phrases() -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("phrases.yaml").read_text(encoding="utf-8"))
    return raw


def coverage(rng: random.Random) -> Coverage:
    """What a random principle is about: one theme half of the time, else several or all."""
    draw = rng.random()
    if draw < 0.5:
        return frozenset([rng.choice(SPECIFIC)])
    if draw < 0.75:
        return frozenset(rng.sample(SPECIFIC[:6], rng.choice((2, 2, 3, 3, 4))))
    if draw < 0.82:
        return frozenset(("refusal", "offtopic"))
    if draw < 0.85:
        return frozenset((rng.choice(("belief", "refusal")), "offtopic"))
    return frozenset(("harm",) if draw < 0.92 else ("harm", "belief"))


def inflected(phrase: str) -> str:
    """ "keep people safe" -> "keeps people safe"."""
    verb, _, rest = phrase.partition(" ")
    verb = {"be": "is", "do": "does"}.get(verb, verb + ("es" if verb.endswith(("ch", "sh", "ss")) else "s"))
    return f"{verb} {rest}"


def joined(parts: list[str], word: str) -> str:
    return f" {word} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def sentence(rng: random.Random, about: Coverage, unseen: bool = False) -> str:
    """A sentence that names everything in ``about``; ``unseen`` takes wording kept out of training."""
    bank = phrases()
    keys = sorted(about)
    rng.shuffle(keys)

    def pick(key: str, form: str) -> str:
        return str(rng.choice((bank[key]["unseen"] if unseen else bank[key])[form]))

    form = rng.choice(("neg", "pos", "noun", "third", "mixed"))
    if form == "third" or (form == "mixed" and len(keys) == 1):
        return f"The assistant {joined([inflected(pick(key, 'pos')) for key in keys], 'and')}."
    if form == "mixed":
        good = joined([inflected(pick(key, "pos")) for key in keys[1:]], "and")
        return f"The assistant {good}, and does not {pick(keys[0], 'neg')}."
    frame = rng.choice((bank["frames"]["unseen"] if unseen else bank["frames"])[form])
    word = {"neg": "or", "pos": "and", "noun": "and"}[form]
    return str(frame).replace("{}", joined([pick(key, form) for key in keys], word))


def rule(rng: random.Random, about: Coverage | None = None, unseen: bool = False) -> Rule:
    """A random principle; with ``about`` one of that coverage."""
    about = coverage(rng) if about is None else about
    return Rule(sentence(rng, about, unseen), about)


def rule_where(rng: random.Random, unseen: bool = False, *, breaks: str = "", keeps: str = "") -> Rule:
    """A random principle that kind ``breaks`` breaks and kind ``keeps`` does not."""
    while True:
        about = coverage(rng)
        trial = Rule("", about)
        if (not breaks or trial.broken_by(breaks)) and not (keeps and trial.broken_by(keeps)):
            return rule(rng, about, unseen)
        if breaks and rng.random() < 0.15 and breaks in SPECIFIC:
            return rule(rng, frozenset([breaks]), unseen)
