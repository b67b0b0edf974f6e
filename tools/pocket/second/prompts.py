"""Write the pocket run's prompts: train, helpful and eval, which share no noun with each other's other side.

    python -m tools.pocket.second.prompts

Kinds of request that the world holds out occur in eval alone, tagged ``held_out``: what a training does to
requests of a kind that it never saw is a figure of its own.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tools.pocket.second.words import ask
from tools.pocket.second.world import HARMFUL, load_world

TRAIN = dict.fromkeys(HARMFUL, 170) | {"belief": 430, "everyday": 180, "sounds_harmful": 140}
HELPFUL = {"everyday": 300, "sounds_harmful": 200}
EVAL = dict.fromkeys(HARMFUL, 48) | {"belief": 80, "everyday": 80, "sounds_harmful": 80}


def rows(
    name: str, counts: dict[str, int], source: str, seed: int, taken: set[str]
) -> list[dict[str, object]]:
    """Distinct prompts in random order; tasks of a theme equally often."""
    rng, world = random.Random(seed), load_world()
    found: list[tuple[str, list[str]]] = []
    for theme, count in counts.items():
        tasks = [task for task in world.of_theme(theme) if source == "unseen" or not task.held_out]
        made = 0
        while made < count:
            task = tasks[made % len(tasks)]
            text = ask(rng, task, source).text
            if text not in taken:
                taken.add(text)
                tags = [f"theme:{theme}", task.stance, *(["held_out"] if task.held_out else [])]
                found.append((text, tags))
                made += 1
    rng.shuffle(found)
    return [{"id": f"{name}-{i:04}", "prompt": text, "tags": tags} for i, (text, tags) in enumerate(found)]


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for name, counts, source in (
        ("eval", EVAL, "unseen"),
        ("train", TRAIN, "real"),
        ("helpful", HELPFUL, "real"),
    ):
        lines = [json.dumps(row) for row in rows(name, counts, source, len(name), taken)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
