"""Topics: real nouns, and invented words so that the model has to copy instead of to remember."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache

from tools.pocket.second.world import Task, World, fill, load_world, nouns


def letters(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ONSETS = letters(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s"
    " sc sh sl sm sn sp st str t th tr v w z"
)
VOWELS = letters("a e i o u ai ea ee oa oo ou y")
CODAS = ("", "", *letters("b ck d ff g l ll m mp n nd ng nt p r rd rk s st t th x"))
ENDINGS = ["er", "le", "et", "ing", "or", "on", "in", "y", "ard", "ow", "age", "ment", "box", "pot", "case"]


@cache
def stock() -> tuple[str, ...]:
    """Every word of the world's sentences and every training noun."""
    texts = " ".join(
        text for task in load_world().tasks for text in (*task.prompts, *task.comply, *task.safe)
    )
    return tuple(sorted({w for w in re.findall(r"[a-z]+", texts.lower()) if len(w) > 2})) + nouns()[0]


def fragment(rng: random.Random) -> str:
    """Some letters in a row of a known word: they come as tokens that the model knows from elsewhere."""
    word = rng.choice(stock())
    start = rng.randint(0, max(0, len(word) - 3))
    return word[start : start + rng.randint(2, 6)]


def invented(rng: random.Random) -> str:
    """A word that looks like one, or two halves of real nouns, or plain letters."""
    kind = rng.random()
    if kind < 0.2:
        first, second = rng.sample(nouns()[0], 2)
        word = first[: rng.randint(2, 5)] + second[-rng.randint(2, 5) :]
    elif kind < 0.3:
        word = "".join(rng.sample(nouns()[0], 2))
    elif kind < 0.6:
        word = "".join(fragment(rng) for _ in range(rng.choice((1, 2, 2, 3))))
    elif kind < 0.92:
        count = rng.choice((1, 1, 2, 2, 3))
        word = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(count))
        word += rng.choice(ENDINGS) if count == 1 or rng.random() < 0.3 else ""
    else:
        word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 8)))
    return word if word not in nouns()[1] else invented(rng)


def topic(rng: random.Random, source: str) -> str:
    """A topic of one or two words. source: "train" (half invented), "real", "unseen"."""
    world = load_world()
    if source == "unseen":
        word = rng.choice(nouns()[1])
    elif source == "real" or rng.random() < 0.45:
        word = rng.choice(nouns()[0])
    else:
        word = invented(rng)
    return f"{rng.choice(world.adjectives)} {word}" if rng.random() < 0.25 else word


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
