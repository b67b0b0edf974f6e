"""Bradley–Terry ratings against two other fits, and the cases in which there are none."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from cai.statistics.bradley_terry import CENTRE, ELO, PRIOR, Game, ratings
from cai.values.errors import CaiError

NAMES = ("base", "dpo", "ppo", "sft")


def arena(seed: int, n: int = 40) -> list[Game]:
    """Wins, losses, ties and soft verdicts of four models of different strength."""
    draw = random.Random(seed)
    strength = dict(zip(NAMES, (-0.7, 0.6, 0.4, 0.0), strict=True))
    games = []
    for number in range(n):
        first, second = draw.sample(NAMES, 2)
        own = 1 / (1 + math.exp(strength[second] - strength[first]))
        p = draw.choice([float(draw.random() < own), 0.5, own])
        games.append(Game(f"p{number // 2}", first, second, p))
    return games


def by_minorisation(games: list[Game]) -> dict[str, float]:
    """Hunter (2004, eq. 3), from wins and games played, with the made-up player; θ centred on the models."""
    wins: dict[tuple[str, str], float] = {}
    for game in games:
        wins[game.first, game.second] = wins.get((game.first, game.second), 0) + game.p
        wins[game.second, game.first] = wins.get((game.second, game.first), 0) + 1 - game.p
    for name in NAMES:
        wins[name, "?"] = wins["?", name] = PRIOR
    skill = dict.fromkeys((*NAMES, "?"), 1.0)
    for _ in range(5000):
        skill = {
            one: sum(w for (a, _), w in wins.items() if a == one)
            / sum(
                (wins[one, other] + wins[other, one]) / (skill[one] + skill[other])
                for a, other in wins
                if a == one
            )
            for one in skill
        }
    mean = sum(math.log(skill[name]) for name in NAMES) / len(NAMES)
    return {name: math.log(skill[name]) - mean for name in NAMES}


def by_likelihood(games: list[Game]) -> dict[str, float]:
    """Logistic regression on who met whom, by a general optimiser."""
    players = (*NAMES, "?")
    met = [(g.first, g.second, g.p, 1.0) for g in games] + [(name, "?", 0.5, 2 * PRIOR) for name in NAMES]

    def loss(theta: np.ndarray) -> float:
        at = dict(zip(players, theta, strict=True))
        return sum(w * (np.logaddexp(0, at[x] - at[y]) - p * (at[x] - at[y])) for x, y, p, w in met)

    theta = minimize(loss, np.zeros(5), tol=1e-12).x[:4]
    return dict(zip(NAMES, theta - theta.mean(), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_ratings_equal_two_other_fits(seed: int) -> None:
    games = arena(seed)
    table = ratings(games)
    slow, general = by_minorisation(games), by_likelihood(games)
    for name in NAMES:
        assert table.scores[name].value == pytest.approx(CENTRE + ELO * slow[name], abs=1e-3)
        assert table.scores[name].value == pytest.approx(CENTRE + ELO * general[name], abs=0.1)
    assert table.unbounded == () and table.prompts == 20


def test_two_models_by_hand() -> None:
    """7 wins of 10: by symmetry the made-up player stands in the middle, and 7.5 = 10 σ(d) + σ(d/2)."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    gap = brentq(lambda d: 10 * sigmoid(d) + sigmoid(d / 2) - 7.5, 0, 3)
    table = ratings([Game(str(i), "a", "b", float(i < 7)) for i in range(10)], anchor="b")
    assert table.scores["b"].value == table.scores["b"].low == 1000.0
    assert table.scores["a"].value == pytest.approx(1000 + ELO * gap, abs=1e-3)
    between = table.difference("a", "b")
    assert between.low == pytest.approx(table.scores["a"].low - 1000)
    assert list(table.scores) == ["a", "b"]


def test_nothing_depends_on_order() -> None:
    games = arena(7)
    turned = [Game(g.prompt_id, g.second, g.first, 1 - g.p) for g in reversed(games)]
    one, other = ratings(games), ratings(turned)
    for name in NAMES:
        assert one.scores[name].value == pytest.approx(other.scores[name].value, abs=1e-3)
        assert one.scores[name].low == pytest.approx(other.scores[name].low, abs=1e-3)


def test_a_tie_is_half_a_win_each_way() -> None:
    tied = ratings([Game(str(i), "a", "b", 0.5) for i in range(20)]).difference("a", "b")
    split = ratings([Game(str(i), "a", "b", float(i % 2)) for i in range(20)]).difference("a", "b")
    assert tied.value == pytest.approx(split.value, abs=1e-6) == 0.0
    assert tied.high < split.high  # twenty ties say more clearly that the two are equal


def test_an_undefeated_model_has_a_rating_and_is_named() -> None:
    games = [Game(str(i), "best", "other", 1.0) for i in range(20)]
    games += [Game(str(i), "other", "third", float(i % 2)) for i in range(20)]
    table = ratings(games)
    assert table.unbounded == ("best",)
    ahead, level = table.difference("best", "other"), table.difference("other", "third")
    assert 400 < ahead.value < 1500 and ahead.low > 0
    assert ahead.high - ahead.low > 2 * (level.high - level.low)
    assert ratings([Game(str(i), "a", "b", 1.0) for i in range(9)]).unbounded == ("a", "b")


def test_groups_that_never_met_are_named() -> None:
    games = [Game("1", "a", "b", 1.0), Game("2", "b", "a", 1.0), Game("3", "c", "d", 0.5)]
    with pytest.raises(CaiError, match=r"never met.*: a, b; c, d"):
        ratings(games)
    with pytest.raises(CaiError, match="e: to be the anchor"):
        ratings(games[:2], anchor="e")
    with pytest.raises(CaiError, match="no game"):
        ratings([Game("1", "a", "a", 0.5)])


def test_prompts_are_the_units() -> None:
    """The same games all on a quarter of the prompts: the same ratings, wider intervals."""
    draw = random.Random(0)
    wins = [float(draw.random() < 0.6) for _ in range(40)]
    alone = ratings([Game(str(i), "a", "b", wins[i // 4]) for i in range(160)]).difference("a", "b")
    together = ratings([Game(str(i // 4), "a", "b", wins[i // 4]) for i in range(160)]).difference("a", "b")
    assert alone.value == together.value and (alone.n, together.n) == (160, 40)
    assert 1.8 < (together.high - together.low) / (alone.high - alone.low) < 2.3
