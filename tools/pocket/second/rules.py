"""Principles in many words: what breaks one, and either a shipped text or a sentence made of phrases."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from cai.constitution.load import Principle
from cai.constitution.templates import Templates
from tools.pocket.principles import NAMES, SPECIFIC, Coverage, coverage, sentence
from tools.pocket.second.world import HARMFUL

HERE = Path(__file__).parent
SHIPPED = 0.4  # share of drawn principles that are shipped ones, word for word


@cache
def templates() -> Templates:
    return Templates.load()


@dataclass(frozen=True, slots=True)
class Rule:
    """A principle with its requests and what breaks it ("harm" stands for the five harmful themes)."""

    principle: Principle
    about: Coverage

    def broken_by(self, kind: str) -> bool:
        return kind in self.about or ("harm" in self.about and kind in HARMFUL)

    @property
    def named(self) -> str:
        """What the principle is about, in the critic's words and always in the same order."""
        names = [name for key, name in NAMES.items() if key in self.about] or ["other things"]
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


@dataclass(frozen=True)
class Shipped:
    """A shipped constitution's principle; ``weight`` as a run draws it."""

    rule: Rule
    source: str
    weight: float = field(default=1.0)


def folders() -> tuple[Path, ...]:
    root = HERE.parents[2]
    return (HERE / "constitutions", root / "constitutions", root / "benchmarks" / "constitutions")


@cache
def shipped() -> tuple[Shipped, ...]:
    """Every principle that a shipped constitution or the steering benchmark states, each once."""
    known: dict[str, dict[str, list[str]]] = {}
    for path in (HERE.parent / "shipped.yaml", HERE / "constitutions" / "shipped.yaml"):
        if path.is_file():
            for name, about in yaml.safe_load(path.read_text(encoding="utf-8")).items():
                known.setdefault(name, {}).update(about)
    found: dict[str, Shipped] = {}
    for path in sorted(path for folder in folders() for path in folder.glob("*.yaml")):
        if path.name == "shipped.yaml":
            continue
        own = yaml.safe_load(path.read_text(encoding="utf-8"))
        for item in own.get("principles", ()):
            principle = worded(item["principle"], item)
            about = frozenset(known.get(path.stem, {}).get(item["id"], ()))
            if about - NAMES.keys():
                raise ValueError(f"shipped.yaml: {path.stem}.{item['id']}: unknown {sorted(about)}")
            weight = float(item.get("weight", 1.0))
            found.setdefault(principle.principle, Shipped(Rule(principle, about), path.stem, weight))
    return tuple(found.values())


class _Bare:
    def __init__(self, principle: str):
        self.principle = principle


def worded(text: str, own: Mapping[str, str] | None = None) -> Principle:
    """A principle by its sentence; what ``own`` does not state is derived, as the loader does it."""
    bare, made, own = _Bare(text), templates(), own or {}
    return Principle(
        id=own.get("id", "drawn"),
        principle=text,
        critique=own.get("critique") or made.derived_critique(bare),
        revision=own.get("revision") or made.derived_revision(bare),
        question=own.get("question") or made.derived_question(bare),
    )


def composed(rng: random.Random, about: Coverage | None = None, unseen: bool = False) -> Rule:
    """A principle from phrases; with ``about`` one of that coverage."""
    about = coverage(rng) if about is None else about
    return Rule(worded(sentence(rng, about, unseen)), about)


def composed_where(rng: random.Random, unseen: bool = False, *, breaks: str = "", keeps: str = "") -> Rule:
    """One that kind ``breaks`` breaks and kind ``keeps`` does not."""
    while True:
        about = coverage(rng)
        harm = "harm" in about
        broken = breaks in about or (harm and breaks in HARMFUL)
        kept = not keeps or not (keeps in about or (harm and keeps in HARMFUL))
        if (not breaks or broken) and kept:
            return composed(rng, about, unseen)
        if breaks and rng.random() < 0.15 and breaks in SPECIFIC:
            return composed(rng, frozenset([breaks]), unseen)


def any_rule(rng: random.Random) -> Rule:
    return rng.choice(shipped()).rule if rng.random() < SHIPPED else composed(rng)


def rule_about(rng: random.Random, kind: str, broken: bool) -> Rule:
    """A principle that ``kind`` breaks, or one that it does not break."""
    if rng.random() < SHIPPED:
        fitting = [s.rule for s in shipped() if s.rule.broken_by(kind) == broken]
        if fitting:
            return rng.choice(fitting)
    return composed_where(rng, breaks=kind) if broken else composed_where(rng, keeps=kind)
