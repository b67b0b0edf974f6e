"""Prompts of the second world; its things are those of the first (``tools.pocket.words``)."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tools.pocket.second.world import Task, World, fill, load_world
from tools.pocket.words import fragment, invented, topic

__all__ = ["Ask", "ask", "fragment", "invented", "topic"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A prompt: a task with its slots filled."""

    task: Task
    slots: dict[str, str]
    text: str


def ask(rng: random.Random, task: Task, source: str = "train") -> Ask:
    """A prompt of this task."""
    world: World = load_world()
    slots = {
        "x": topic(rng, source),
        "n": rng.choice(world.people),
        "p": rng.choice(world.wrong_beliefs),
        "t": rng.choice(world.true_beliefs),
    }
    return Ask(task, slots, fill(rng.choice(task.prompts), slots))
