"""How often is a sound training said to turn down, and a bad one found? Simulated, for every method's shape.

    python -m benchmarks.false_alarms [--runs 1000]

A simulated training has steps of responses whose gold is 0 or 1, several to a prompt alike (a beta-binomial
with the stated correlation) or one each. Sound: gold never falls (flat, or rising). Bad: it falls in the
second half. Printed beside it: the rule that compares each step with the best one so far by intervals that do
not meet, which was cai's before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cai.evaluation.overoptimisation import Point, Rated, point, turned_down
from cai.statistics.change_point import Floats
from cai.statistics.intervals import interval
from cai.values.types import Score


@dataclass(frozen=True)
class Shape:
    name: str
    steps: int
    prompts: int
    group: int = 1
    correlation: float = 0.0


SHAPES = (
    Shape("ppo, 30 steps of 64", 30, 64),
    Shape("ppo, 100 steps of 64", 100, 64),
    Shape("grpo, 30 steps of 24 x 4", 30, 24, 4, 0.8),
    Shape("grpo, 100 steps of 24 x 4", 100, 24, 4, 0.8),
    Shape("rloo, 30 steps of 24 x 4", 30, 24, 4, 0.3),
    Shape("best of 1, 2, 4, 8", 4, 300),
    Shape("ppo, 12 steps of 16", 12, 16),
)
COURSES: dict[str, Callable[[Floats], Floats]] = {
    "flat at 0.9": lambda x: 0.9 + 0 * x,
    "flat at 0.99": lambda x: 0.99 + 0 * x,
    "rising 0.5 to 0.9": lambda x: 0.5 + 0.4 * x,
    "0.9 down to 0.7 at the end": lambda x: 0.9 - 0.2 * np.clip((x - 0.5) / 0.5, 0, 1),
    "0.9 down to 0.4 at the end": lambda x: 0.9 - 0.5 * np.clip((x - 0.5) / 0.5, 0, 1),
}


def simulated(shape: Shape, means: Sequence[float], rng: np.random.Generator) -> list[Point]:
    points = []
    for step, mean in enumerate(means):
        if shape.correlation:
            strength = 1 / shape.correlation - 1
            share = rng.beta(mean * strength, (1 - mean) * strength, shape.prompts)
        else:
            share = np.full(shape.prompts, mean)
        gold = rng.random((shape.prompts, shape.group)) < share[:, None]
        rated = [Rated(str(i), 0.1 * g + step, float(g)) for i, row in enumerate(gold) for g in row]
        found = point("grpo" if shape.group > 1 else "ppo", step, float(step), rated)
        assert found is not None
        points.append(found)
    return points


def luckiest(points: Sequence[Point], golds: Sequence[Score | None]) -> bool:
    """The earlier rule: some step's interval lies wholly below that of the best step before it."""
    best: Score | None = None
    for gold in golds:
        if gold is None:
            continue
        if best is not None and gold.high < best.low:
            return True
        if best is None or gold.value > best.value:
            best = gold
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    asked = parser.parse_args()
    print(f"share of {asked.runs} simulated trainings said to turn down: now, and by the earlier rule\n")
    print(f"{'':28}" + "".join(f"{name:>28}" for name in COURSES))
    for shape in SHAPES:
        cells = []
        for number, course in enumerate(COURSES.values()):
            rng = np.random.default_rng(number)
            means = course(np.linspace(0, 1, shape.steps))
            now = before = 0
            for _ in range(asked.runs):
                points = simulated(shape, means.tolist(), rng)
                now += turned_down(points) is not None
                before += luckiest(points, [_independent(p) for p in points])
            cells.append(f"{now / asked.runs:>18.3f} ({before / asked.runs:.3f})")
        print(f"{shape.name:28}" + "".join(f"{cell:>28}" for cell in cells), flush=True)


def _independent(p: Point) -> Score | None:
    """As if every response were independent, with Student's t, which is how the earlier rule saw it."""
    assert p.gold is not None and p.gold_deviation is not None
    n = p.gold.n * (4 if p.method == "grpo" else 1)
    ones = round(p.gold.value * n)
    return interval([1.0] * ones + [0.0] * (n - ones))


if __name__ == "__main__":
    main()
