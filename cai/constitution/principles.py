"""Principles, constitutions, and how principles are drawn. Loading is ``load.py``'s business."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from dataclasses import asdict, dataclass

from cai.config.yamlfile import dump_yaml
from cai.values.errors import UsageError
from cai.values.types import Conversation, as_messages
from cai.values.words import did_you_mean


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with a worse and a better response under the principle.

    ``violation``: the worse one breaks the principle and the better one is clean, so that a critic can
    be tested on them as well as a labeler.
    """

    prompt: Conversation
    worse: str
    better: str
    violation: bool


@dataclass(frozen=True, slots=True)
class Principle:
    """One principle with everything that critic and labeler are asked about it."""

    id: str
    principle: str
    critique: str
    revision: str
    question: str
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class Constitution:
    """Principles with distinct ids, those of extended constitutions first."""

    name: str
    description: str
    principles: tuple[Principle, ...]

    def __getitem__(self, principle_id: str) -> Principle:
        """The principle of that id. Raises UsageError when there is none."""
        for principle in self.principles:
            if principle.id == principle_id:
                return principle
        hint = did_you_mean(principle_id, [principle.id for principle in self.principles])
        raise UsageError(f"constitution '{self.name}' has no principle '{principle_id}'{hint}")

    @property
    def fingerprint(self) -> str:
        """Identity of the principles, examples included: 16 hexadecimal digits."""
        content = json.dumps([asdict(principle) for principle in self.principles], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def dump(constitution: Constitution) -> str:
    """The constitution as YAML with nothing left to derive or extend; loading it gives an equal one."""
    return dump_yaml(
        {
            "name": constitution.name,
            "description": constitution.description,
            "principles": [_entry(principle) for principle in constitution.principles],
        }
    )


def _entry(principle: Principle) -> dict[str, object]:
    def example(one: Example) -> dict[str, object]:
        worse, better = ("violating", "clean") if one.violation else ("worse", "better")
        return {"prompt": as_messages(one.prompt), worse: one.worse, better: one.better}

    return {
        "id": principle.id,
        "principle": principle.principle,
        "critique": principle.critique,
        "revision": principle.revision,
        "question": principle.question,
        "weight": principle.weight,
        "tags": list(principle.tags),
        "examples": [example(one) for one in principle.examples],
    }


def draw(constitution: Constitution, *key: str | int) -> Principle:
    """One principle, at random by weight; the same one for the same ``key`` for ever."""
    return draw_many(constitution, 1, *key)[0]


def draw_many(constitution: Constitution, k: int, *key: str | int) -> list[Principle]:
    """``k`` different principles (or all, if there are fewer), in the order in which they were drawn.

    Weighted rendezvous hashing: each principle gets an exponential variate -ln(u)/weight from the hash of
    (key, id), and the smallest win. The minimum of exponentials falls on each with probability weight/Σ,
    and to add, remove or reweight a principle changes only the draws that it wins or loses.
    """
    # An id is hashed as the end of the JSON list [*key, id]; what all ids share is hashed once.
    shared = hashlib.sha256("".join(["[", *(f"{json.dumps(part)}, " for part in key)]).encode())
    return heapq.nsmallest(k, constitution.principles, key=lambda one: (_score(one, shared), one.id))


def _score(principle: Principle, shared: hashlib._Hash) -> float:
    hashed = shared.copy()
    hashed.update(f"{json.dumps(principle.id)}]".encode())
    uniform = (
        (int.from_bytes(hashed.digest()[:8], "big") >> 11) + 0.5
    ) / 2**53  # in (0, 1), never an end point
    return -math.log(uniform) / principle.weight
