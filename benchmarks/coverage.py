"""How often nominal 95 % intervals hold the truth, for every estimator of cai/statistics, by simulation.

    python -m benchmarks.coverage                   # 4,000 simulated samples a row, some five minutes
    python -m benchmarks.coverage --samples 500

Samples share a prompt's effect where a row says so. Prints a Markdown table; rows outside
93 to 97 % are marked.
Left out: α and κ, whose coverage docs/agreement.md has.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cai.statistics.bradley_terry import ELO, Game, ratings
from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.statistics.difference import difference
from cai.statistics.intervals import mean, proportion
from cai.statistics.length_control import Duel, length_controlled, win_rate
from cai.values.types import Score

Random = np.random.Generator
Draw = Callable[[Random], tuple[Score | None, float]]


@dataclass(frozen=True)
class Row:
    """``draw`` makes one sample and gives its estimate and the truth."""

    estimator: str
    case: str
    draw: Draw
    share: float = 1.0  # of the samples, for what is slow


def beta_mean(a: float, b: float, n: int) -> Draw:
    return lambda r: (mean(list(r.beta(a, b, n))), a / (a + b))


def share_of(p: float, n: int) -> Draw:
    return lambda r: (proportion(list(r.random(n) < p)), p)


def clustered(prompts: int, each: int, spread: float) -> Draw:
    def draw(r: Random) -> tuple[Score | None, float]:
        sizes = r.integers(1, each + 1, prompts)
        names = np.repeat(np.arange(prompts), sizes)
        values = r.normal(0, spread, prompts)[names] + r.normal(0, 1, len(names))
        return clustered_mean(list(values), list(names)), 0.0

    return draw


def clustered_share(prompts: int, each: int, p: float, alike: float) -> Draw:
    """A prompt's own probability is Beta with mean p; ``alike`` is the correlation within a prompt."""

    def draw(r: Random) -> tuple[Score | None, float]:
        scale = (1 - alike) / alike
        own = np.repeat(r.beta(p * scale, (1 - p) * scale, prompts), each)
        names = list(np.repeat(np.arange(prompts), each))
        return clustered_proportion(list(r.random(len(own)) < own), names), p

    return draw


def verdicts(r: Random, own: np.ndarray, kind: str) -> np.ndarray:
    """Verdicts with mean ``own`` [N]: "hard" wins and losses, "ties" with a tie as the mean of two of them,
    "soft" probabilities around it."""
    if kind == "soft":
        return r.beta(4 * own, 4 * (1 - own))
    wins = (r.random(len(own)) < own).astype(float)
    return wins if kind == "hard" else (wins + (r.random(len(own)) < own)) / 2


def duels(prompts: int, p: float, kind: str, each: int = 1) -> Draw:
    def draw(r: Random) -> tuple[Score | None, float]:
        own = np.repeat(np.clip(r.beta(6 * p, 6 * (1 - p), prompts), 0.001, 0.999), each)
        names = np.repeat(np.arange(prompts), each)
        found = verdicts(r, own, kind)
        return win_rate([Duel(str(n), float(v)) for n, v in zip(names, found, strict=True)]), p

    return draw


def lengths(prompts: int, theta: float, phi: float, kind: str, longer: float = 0.5) -> Draw:
    """True length term and quality; the model's answers are longer by ``longer`` standard deviations."""

    def draw(r: Random) -> tuple[Score | None, float]:
        gap = r.normal(longer, 1, prompts)
        own = 1 / (1 + np.exp(-theta - phi * np.tanh(gap / gap.std())))
        found = verdicts(r, own, kind)
        rows = [Duel(str(i), float(v), float(g)) for i, (v, g) in enumerate(zip(found, gap, strict=True))]
        return length_controlled(rows), 1 / (1 + math.exp(-theta))

    return draw


def arena(prompts: int, theta: tuple[float, ...], kind: str, prompt_effect: float = 0.0) -> Draw:
    """Every two models meet on every prompt; the rating of the first minus that of the last."""

    def draw(r: Random) -> tuple[Score | None, float]:
        games = []
        # A prompt on which all models do equally well by chance makes its games dependent.
        noise = r.normal(0, prompt_effect, (prompts, len(theta)))
        for i in range(len(theta)):
            for j in range(i):
                own = 1 / (1 + np.exp(-(theta[i] - theta[j] + noise[:, i] - noise[:, j])))
                found = verdicts(r, own, kind)
                games += [Game(str(k), str(i), str(j), float(v)) for k, v in enumerate(found)]
        return ratings(games).difference("0", str(len(theta) - 1)), ELO * (theta[0] - theta[-1])

    return draw


def risen(before: float, after: float, n: int, alike: float) -> Draw:
    """Two shares on the same n prompts; ``alike`` of the prompts take the same draw in both."""

    def draw(r: Random) -> tuple[Score | None, float]:
        first = r.random(n)
        second = np.where(r.random(n) < alike, first, r.random(n))
        a, b = proportion(list(first < before)), proportion(list(second < after))
        return (difference(a, b) if a and b else None), after - before

    return draw


def rows() -> list[Row]:
    table = [
        Row("proportion", f"p = {p}, n = {n}", share_of(p, n)) for n in (20, 80) for p in (0.5, 0.2, 0.05)
    ]
    table += [
        Row("mean", f"Beta({a}, {b}), n = {n}", beta_mean(a, b, n))
        for a, b, n in ((2, 5, 20), (2, 5, 60), (0.3, 0.3, 40), (0.2, 2, 60), (0.2, 2, 300))
    ]
    table += [
        Row("clustered_mean", f"{g} prompts of 1–{k}, sd between {s}", clustered(g, k, s))
        for g, k, s in ((10, 4, 1.0), (40, 4, 1.0), (40, 4, 0.0), (200, 8, 0.5))
    ]
    table += [
        Row("clustered_proportion", f"p = {p}, {g} prompts × {k}, ρ = {c}", clustered_share(g, k, p, c))
        for p, g, k, c in ((0.5, 20, 4, 0.3), (0.2, 60, 4, 0.3), (0.05, 60, 4, 0.3), (0.8, 60, 2, 0.05))
    ]
    table += [
        Row("win_rate", f"p = {p}, n = {n}, {kind}", duels(n, p, kind))
        for p, n, kind in (
            (0.5, 30, "hard"),
            (0.9, 30, "hard"),
            (0.9, 30, "ties"),
            (0.7, 100, "ties"),
            (0.95, 100, "ties"),
            (0.8, 60, "soft"),
            (0.95, 60, "soft"),
        )
    ]
    table.append(Row("win_rate", "p = 0.7, 40 prompts × 3, ties", duels(40, 0.7, "ties", 3)))
    table += [
        Row("length_controlled", f"θ = {t}, φ = {f}, n = {n}, {kind}", lengths(n, t, f, kind))
        for t, f, n, kind in (
            (0.0, 0.0, 40, "hard"),
            (0.0, 1.0, 100, "hard"),
            (1.0, 1.0, 100, "ties"),
            (2.0, 1.0, 100, "hard"),
            (0.5, 2.0, 200, "ties"),
            (0.5, 1.0, 60, "soft"),
        )
    ]
    table.append(
        Row(
            "length_controlled",
            "θ = 0.5, φ = 1, n = 200, ties, longer by 2 sd",
            lengths(200, 0.5, 1.0, "ties", 2.0),
        )
    )
    table += [
        Row(
            "bradley_terry difference",
            f"θ = {t}, {n} prompts, {kind}{', shared effect' if e else ''}",
            arena(n, t, kind, e),
            0.25,
        )
        for t, n, kind, e in (
            ((0.0, 0.0), 50, "hard", 0.0),
            ((0.5, 0.0, -0.5), 30, "ties", 0.0),
            ((0.0, 0.0, 0.0, 0.0), 60, "hard", 1.0),
            ((1.0, 0.5, 0.0, -1.0), 100, "ties", 0.0),
            ((2.0, 0.0, -1.0), 100, "hard", 0.0),
            ((3.0, 0.0), 30, "hard", 0.0),
        )
    ]
    return table + [
        Row("difference of shares", f"{a} → {b}, n = {n}, {c:.0%} alike", risen(a, b, n, c))
        for a, b, n, c in (
            (0.05, 0.05, 80, 0.0),
            (0.05, 0.15, 80, 0.0),
            (0.5, 0.6, 80, 0.0),
            (0.5, 0.6, 80, 0.5),
        )
    ]


def coverage(row: Row, samples: int, seed: int) -> tuple[float, int]:
    """Share of samples whose interval holds the truth, and how many had an interval."""
    r = np.random.default_rng(seed)
    hits = [
        score.low <= truth <= score.high
        for score, truth in (row.draw(r) for _ in range(round(samples * row.share)))
        if score is not None
    ]
    return sum(hits) / len(hits), len(hits)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print("| estimator | case | coverage | samples |\n| --- | --- | --- | --- |")
    for number, row in enumerate(rows()):
        if options.only in row.estimator:
            share, count = coverage(row, options.samples, seed=number)
            mark = "" if 0.93 <= share <= 0.97 else " !"
            print(f"| {row.estimator} | {row.case} | {share:.3f}{mark} | {count:,} |", flush=True)


if __name__ == "__main__":
    main()
