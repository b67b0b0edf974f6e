"""Win rates against hand-worked numbers, a second fit, and a planted effect of length."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from cai.statistics.difference import difference
from cai.statistics.intervals import proportion
from cai.statistics.length_control import Duel, length_controlled, win_rate
from cai.values.types import Score


def rows(p: list[float], prompts: int | None = None) -> list[Duel]:
    return [Duel(str(i % (prompts or len(p))), value) for i, value in enumerate(p)]


def judged(theta: float, phi: float, longer: float, n: int = 300, seed: int = 0) -> list[Duel]:
    """A judge with quality ``theta`` and love of length ``phi``; ``longer`` in standard deviations."""
    draw = np.random.default_rng(seed)
    gap = draw.normal(longer * 40, 40, n)
    own = 1 / (1 + np.exp(-theta - phi * np.tanh(gap / gap.std())))
    wins = draw.random(n) < own
    return [Duel(str(i), float(w), 200 + g, 200) for i, (w, g) in enumerate(zip(wins, gap, strict=True))]


def test_wins_ties_and_losses_are_averaged() -> None:
    # 2 wins, 1 tie, 1 loss: mean 0.625; Σ(p - m)² = 2·0.375² + 0.125² + 0.625² = 0.6875;
    # variance of the mean 4/3 · 0.6875 / 16 = 0.0572917; 0.625·0.375 / 0.0572917 = 4.0909 outcomes;
    # t(0.975, 3) = 3.1824, (1.95996/3.1824)² = 0.37929: 1.5517 outcomes. Wilson: z²/n = 2.4757.
    score = win_rate(rows([1, 1, 0.5, 0]))
    assert score is not None and (score.value, score.n) == (0.625, 4)
    centre = (0.625 + 2.4757 / 2) / 3.4757
    half = math.sqrt(0.625 * 0.375 * 2.4757 + 2.4757**2 / 4) / 3.4757
    assert score.low == pytest.approx(centre - half, abs=1e-3)
    assert score.high == pytest.approx(centre + half, abs=1e-3)


def test_verdicts_on_one_prompt_are_not_independent() -> None:
    whole = win_rate(rows([1.0, 0.0] * 20))
    in_pairs = win_rate([Duel(str(i // 2), float(i // 2 % 2)) for i in range(40)])
    assert whole is not None and in_pairs is not None
    assert (whole.n, in_pairs.n) == (40, 20)
    assert in_pairs.high - in_pairs.low > 1.3 * (whole.high - whole.low)


def test_all_wins_still_have_width() -> None:
    score = win_rate(rows([1.0] * 30))
    plain = proportion([True] * 30)
    assert score is not None and plain is not None
    assert score.value == score.high == 1.0
    assert plain.low - 0.02 < score.low < plain.low
    assert win_rate([]) is None
    assert win_rate([Duel("p", 1.0), Duel("p", 1.0)]) == Score(1.0, 0.0, 1.0, 1)


def test_swapping_sides_turns_the_win_rate_round() -> None:
    duels = judged(0.4, 1.0, 0.5)
    swapped = [Duel(d.prompt_id, 1 - d.p, d.base_length, d.length) for d in duels]
    for measure in (win_rate, length_controlled):
        one, other = measure(duels), measure(swapped)
        assert one is not None and other is not None
        assert one.value == pytest.approx(1 - other.value, abs=1e-9)
        assert one.low == pytest.approx(1 - other.high, abs=1e-9)


def test_a_planted_length_effect_is_removed() -> None:
    """Equal quality, a judge who loves length, and a model that writes more."""
    duels = judged(theta=0.0, phi=1.5, longer=1.0)
    raw, controlled = win_rate(duels), length_controlled(duels)
    assert raw is not None and controlled is not None
    assert raw.low > 0.6
    assert controlled.low < 0.5 < controlled.high


def test_a_real_effect_of_quality_stays() -> None:
    truth = 1 / (1 + math.exp(-0.8))
    for longer in (-1.0, 0.0, 1.0):
        controlled = length_controlled(judged(theta=0.8, phi=1.5, longer=longer))
        assert controlled is not None
        assert 0.5 < controlled.low < truth < controlled.high


def test_the_fit_is_the_maximum_of_its_likelihood() -> None:
    duels = judged(0.5, 1.0, 0.5, n=80)
    gap = np.array([d.length - d.base_length for d in duels])
    x, p = np.append(np.tanh(gap / gap.std()), [1, -1]), np.append([d.p for d in duels], [0.5, 0.5])
    weight = np.append(np.ones(80), [0.5, 0.5])

    def loss(beta: np.ndarray) -> float:
        z = beta[0] + beta[1] * x
        return float((weight * (np.logaddexp(0, z) - p * z)).sum())

    theta = minimize(loss, [0.0, 0.0], tol=1e-12).x[0]
    controlled = length_controlled(duels)
    assert controlled is not None
    assert controlled.value == pytest.approx(1 / (1 + math.exp(-theta)), abs=1e-5)


def test_what_length_cannot_tell() -> None:
    same = [Duel(str(i), float(i % 3 > 0), 100, 100) for i in range(30)]
    assert length_controlled(same) == win_rate(same)
    always_longer = [Duel(str(i), float(i % 3 > 0), 120, 100) for i in range(30)]
    assert length_controlled(always_longer) is None
    decided_by_length = [Duel(str(i), float(i >= 10), 100 + i - 10, 100) for i in range(30)]
    score = length_controlled(decided_by_length)
    assert score is not None and (score.low, score.high) == (0.0, 1.0)
    assert length_controlled(judged(0.5, 1.0, 0.0, n=9)) is None


def test_difference_of_shares_by_newcombe() -> None:
    # Newcombe 1998, table II: 56/70 - 48/80 by method 10 is 0.2 [0.0524, 0.3339].
    second, first = proportion([True] * 48 + [False] * 32), proportion([True] * 56 + [False] * 14)
    assert first is not None and second is not None
    gap = difference(second, first)
    assert gap.value == pytest.approx(0.2)
    assert (gap.low, gap.high, gap.n) == (
        pytest.approx(0.0524, abs=1e-4),
        pytest.approx(0.3339, abs=1e-4),
        70,
    )
