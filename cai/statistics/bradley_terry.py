"""Ratings of any number of models from pairwise results: Bradley–Terry (1952) on the Elo scale.

    table = ratings([Game("p1", "policy", "base", 1.0), Game("p2", "base", "sft", 0.5)])
    table.scores["policy"], table.difference("policy", "sft")

P(i beats j) = sigmoid(θ_i - θ_j); a rating is 1000 + 400/ln 10 · (θ_i - mean θ), or with a named model at
1000. A tie is half a win and half a loss for both, and a soft verdict p is p wins and 1-p losses. Davidson's
model (1970) gives ties a parameter of their own; half wins need none and take soft verdicts too.

A model that never lost has no finite rating of its own: the likelihood rises without end. Every model
therefore also plays one game, half won and half lost, against a made-up player whose strength is fitted like
everybody's. That pulls ratings together by about 1/(games per model). Models whose rating would be infinite
without it are named in ``unbounded``: theirs says "at least (or at most) about this", and rests on that game.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cai.statistics.intervals import CONFIDENCE
from cai.values.errors import CaiError
from cai.values.types import Score

Floats = npt.NDArray[np.float64]
ELO = 400 / math.log(10)
CENTRE = 1000.0
PRIOR = 0.5  # wins, and as many losses, of each model against the made-up player


@dataclass(frozen=True, slots=True)
class Game:
    """P(``first`` beats ``second``) on a prompt, both orders of showing averaged."""

    prompt_id: str
    first: str
    second: str
    p: float


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings by model, best first; θ [M] and its covariance [M, M] in the order of ``names``."""

    scores: dict[str, Score]
    unbounded: tuple[str, ...]
    names: tuple[str, ...]
    theta: Floats
    covariance: Floats
    prompts: int

    def difference(self, first: str, second: str) -> Score:
        """Rating of ``first`` minus rating of ``second`` with its own interval, not that of two ratings."""
        contrast = np.zeros(len(self.names))
        contrast[self.names.index(first)] += 1
        contrast[self.names.index(second)] -= 1
        return _score(contrast, self.theta, self.covariance, self.prompts)


def ratings(games: Sequence[Game], anchor: str | None = None) -> Ratings:
    """Fit all models at once; ``n`` of every score counts prompts.

    Raises:
        CaiError: no game; ``anchor`` played none; or the models fall into groups that never met, so that
            nothing says how one group compares with another.
    """
    games = [game for game in games if game.first != game.second]
    names = tuple(sorted({name for game in games for name in (game.first, game.second)}))
    if not names:
        raise CaiError("no game between two models: nothing to rate")
    if anchor is not None and anchor not in names:
        raise CaiError(f"{anchor}: to be the anchor it must have played; there are {', '.join(names)}")
    groups = _components(names, [(g.first, g.second) for g in games])
    if len(groups) > 1:
        shown = "; ".join(", ".join(sorted(group)) for group in groups)
        raise CaiError(f"these groups of models never met, so they cannot be rated together: {shown}")
    theta = _evalica(games, names)
    unbounded = _unbounded(games, names)
    covariance, prompts = _covariance(games, names, theta, bool(unbounded))
    theta = theta[:-1]
    at = _reference(names, anchor)
    scores = {}
    for i, name in enumerate(names):
        above = _score(np.eye(len(names))[i] - at, theta, covariance, prompts)
        scores[name] = Score(above.value + CENTRE, above.low + CENTRE, above.high + CENTRE, prompts)
    best_first = dict(sorted(scores.items(), key=lambda item: -item[1].value))
    return Ratings(best_first, unbounded, names, theta, covariance, prompts)


def _score(contrast: Floats, theta: Floats, covariance: Floats, prompts: int) -> Score:
    """Elo points of a combination of ratings. contrast, theta: [M]; covariance: [M, M]"""
    from scipy.stats import t

    value = ELO * float(contrast @ theta)
    error = ELO * math.sqrt(max(0.0, float(contrast @ covariance @ contrast)))
    half = float(t.ppf((1 + CONFIDENCE) / 2, max(1, prompts - 1))) * error
    return Score(value, value - half, value + half, prompts)


def _evalica(games: Sequence[Game], names: Sequence[str]) -> Floats:
    """θ of all models and of the made-up player, last: [M + 1]."""
    from evalica import Winner, bradley_terry

    first: list[int] = []
    second: list[int] = []
    weights: list[float] = []
    number = {name: i for i, name in enumerate(names)}
    wins: dict[tuple[int, int], float] = defaultdict(float)
    for game in games:
        x, y = number[game.first], number[game.second]
        wins[x, y] += game.p
        wins[y, x] += 1 - game.p
    for i in range(len(names)):
        wins[i, len(names)] = wins[len(names), i] = PRIOR
    for (x, y), weight in wins.items():
        first.append(x)
        second.append(y)
        weights.append(weight)
    winners = [Winner.X] * len(first)
    result = bradley_terry(first, second, winners, weights=weights, tolerance=1e-9, limit=100_000)
    strength = np.array([float(result.scores[i]) for i in range(len(names) + 1)])
    theta: Floats = np.log(strength)
    theta -= theta[:-1].mean()
    return theta


def _covariance(
    games: Sequence[Game], names: Sequence[str], theta: Floats, unbounded: bool
) -> tuple[Floats, int]:
    """Sandwich covariance of θ [M, M] between prompts, and the number of prompts.

    Where a rating is unbounded its residuals are nearly 0, and so would be the sandwich: the inverse
    information is taken instead where it is the larger of the two (by trace). One prompt has no spread.
    """
    size = len(names) + 1
    number = {name: i for i, name in enumerate(names)}
    information = np.zeros((size, size))
    sums: dict[str, Floats] = defaultdict(lambda: np.zeros(size))

    def inform(x: int, y: int, weight: float) -> float:
        p = 1 / (1 + math.exp(theta[y] - theta[x]))
        part = weight * p * (1 - p)
        information[[x, y], [x, y]] += part
        information[[x, y], [y, x]] -= part
        return p

    for game in games:
        x, y = number[game.first], number[game.second]
        residual = game.p - inform(x, y, 1.0)
        sums[game.prompt_id][[x, y]] += residual, -residual
    for i in range(len(names)):
        inform(i, size - 1, 2 * PRIOR)
    inverse = np.linalg.pinv(information)
    scores = np.stack(list(sums.values()))
    groups = len(scores)
    sandwich = groups / max(1, groups - 1) * inverse @ (scores.T @ scores) @ inverse
    if unbounded or groups < 2:
        sandwich = max(sandwich, inverse, key=lambda matrix: float(np.trace(matrix)))
    return sandwich[:-1, :-1], groups


def _unbounded(games: Sequence[Game], names: Sequence[str]) -> tuple[str, ...]:
    """Models outside the largest group in which everybody beat everybody, directly or through others.

    Only if all models form one such group is every rating finite (Ford 1957).
    """
    beats: dict[str, set[str]] = defaultdict(set)
    beaten: dict[str, set[str]] = defaultdict(set)
    for game in games:
        for winner, loser, p in ((game.first, game.second, game.p), (game.second, game.first, 1 - game.p)):
            if p > 0:
                beats[winner].add(loser)
                beaten[loser].add(winner)
    groups = {frozenset(_reached(name, beats) & _reached(name, beaten)) for name in names}
    largest = max(groups, key=lambda group: (len(group), sorted(group)))
    if len(groups) == len(names) > 1:
        return tuple(names)  # nobody has a rating that rests on results both ways
    return tuple(name for name in names if name not in largest)


def _components(names: Sequence[str], met: Sequence[tuple[str, str]]) -> list[set[str]]:
    ways: dict[str, set[str]] = defaultdict(set)
    for x, y in met:
        ways[x].add(y)
        ways[y].add(x)
    groups: list[set[str]] = []
    for name in names:
        if not any(name in group for group in groups):
            groups.append(_reached(name, ways))
    return groups


def _reached(start: str, ways: dict[str, set[str]]) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        for name in ways.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def _reference(names: Sequence[str], anchor: str | None) -> Floats:
    """Weights [M] of the rating that stands at 1000."""
    if anchor is None:
        return np.full(len(names), 1 / len(names))
    at: Floats = np.eye(len(names))[list(names).index(anchor)]
    return at
