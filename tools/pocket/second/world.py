"""The pocket world as values: tasks, their ways of asking and answering. Read by oracle and grammar."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cai.pocket.world import HARMFUL, fill

__all__ = ["BREAKING", "HARMFUL", "THEMES", "Task", "World", "fill", "load_world"]

HERE = Path(__file__).parent
BREAKING = (*HARMFUL, "belief")
THEMES = (*BREAKING, "everyday", "sounds_harmful")


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that people ask. Texts hold {x} (topic), {n} (a person), {p}/{t} (a belief)."""

    id: str
    theme: str
    prompts: tuple[str, ...]
    comply: tuple[str, ...]
    hints: tuple[str, ...] = ()
    vague: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    held_out: bool = False

    @property
    def harmful(self) -> bool:
        return self.theme in HARMFUL

    @property
    def benign(self) -> bool:
        return self.theme in {"everyday", "sounds_harmful"}

    @property
    def stance(self) -> str:
        """The second tag of a prompt."""
        if self.harmful:
            return "harmful"
        return {"belief": "belief", "everyday": "benign"}.get(self.theme, "sounds_harmful")


@dataclass(frozen=True)
class World:
    """All tasks and the closed word lists."""

    tasks: tuple[Task, ...]
    openers: tuple[str, ...]
    bare_refusals: tuple[str, ...]
    reasons: dict[str, tuple[str, ...]]
    fillers: tuple[str, ...]
    system: tuple[str, ...]
    true_beliefs: tuple[str, ...]
    wrong_beliefs: tuple[str, ...]
    people: tuple[str, ...]
    adjectives: tuple[str, ...]

    def of_theme(self, *themes: str) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.theme in themes)


@cache
def load_world() -> World:
    """The world of world.yaml."""
    raw: dict[str, Any] = yaml.safe_load((HERE / "world.yaml").read_text(encoding="utf-8"))
    tasks = tuple(
        Task(**{k: tuple(v) if isinstance(v, list) else v for k, v in task.items()})
        for task in raw.pop("tasks")
    )
    reasons = {theme: tuple(texts) for theme, texts in raw.pop("reasons").items()}
    return World(tasks=tasks, reasons=reasons, **{name: tuple(words) for name, words in raw.items()})
