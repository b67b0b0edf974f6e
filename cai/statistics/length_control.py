"""Win rates from pairwise verdicts: raw, and with the effect of length taken out.

    duels = [Duel("p1", 0.8, 120, 90), Duel("p2", 0.5, 60, 95)]
    win_rate(duels), length_controlled(duels)

A verdict is P(the model's answer is better than the baseline's) in [0, 1], a tie 0.5, with the two orders of
showing averaged before (``types.Judgement.p``). Several verdicts may share a prompt: intervals are between
prompts, and ``n`` counts prompts.

Left out: AlpacaEval's term for how hard an instruction is. It is estimated over the answers of many models
and cannot be told from noise with one model and one baseline. So the value is the win rate on a prompt of
ordinary difficulty, which lies a little nearer to 0.5 than it would with that term.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cai.statistics.clusters import wilson
from cai.statistics.intervals import CONFIDENCE
from cai.values.types import Score

Floats = npt.NDArray[np.float64]
MIN_LENGTH_PROMPTS = 10  # two coefficients on fewer prompts are a guess
PRIOR = 0.5  # weight of each of two ties, at length terms +1 and -1, that keep the fit finite


@dataclass(frozen=True, slots=True)
class Duel:
    """P(the model's answer beats the baseline's) for a prompt, and the two answers' lengths in any unit."""

    prompt_id: str
    p: float
    length: float = 0.0
    base_length: float = 0.0


def win_rate(duels: Sequence[Duel]) -> Score | None:
    """Mean verdict with a Wilson interval at the effective number of verdicts; None of nothing.

    That number is m(1-m) over the variance of the mean between prompts: for wins and losses alone the number
    of prompts, for ties and soft verdicts more. It is scaled by (z/t)² for few prompts (Korn and Graubard
    1998). Student's t interval would have no width where every verdict is a win.
    """
    if not duels:
        return None
    sums: dict[str, float] = defaultdict(float)
    mean = sum(duel.p for duel in duels) / len(duels)
    for duel in duels:
        sums[duel.prompt_id] += duel.p - mean
    groups = len(sums)
    if groups < 2:
        return Score(mean, 0.0, 1.0, groups)
    variance = groups / (groups - 1) * sum(value * value for value in sums.values()) / len(duels) ** 2
    return _bounded(mean, math.sqrt(variance), groups, groups - 1)


def length_controlled(duels: Sequence[Duel]) -> Score | None:
    """The win rate that the model would have at the baseline's length (Dubois et al. 2024, eq. 2).

    Fits logit P(win) = θ + φ tanh(d / sd(d)), d being the difference in length, by maximum likelihood on soft
    verdicts; the value is sigmoid(θ). Its variance is the sandwich between prompts with each prompt's own
    pull taken out (CR3; Bell and McCaffrey 2002), carried over by the delta method. Two half-weight ties at
    length terms ±1 keep the fit finite.

    Returns:
        None of fewer than 10 prompts, and where all differences in length are the same and not 0, since
        length and quality cannot be told apart then. Where length alone decides every verdict the interval is
        [0, 1].
    """
    prompts = {duel.prompt_id for duel in duels}
    if len(prompts) < MIN_LENGTH_PROMPTS:
        return None
    difference = np.array([duel.length - duel.base_length for duel in duels])
    spread = float(difference.std())
    if spread == 0.0:
        return win_rate(duels) if not difference.any() else None
    x = np.tanh(difference / spread)
    p = np.array([duel.p for duel in duels])
    if _separated(x, p):
        theta, _ = _fit(x, p)
        return Score(_sigmoid(theta), 0.0, 1.0, len(prompts))
    theta, variance = _fit(x, p, [duel.prompt_id for duel in duels])
    value = _sigmoid(theta)
    if np.ptp(p) == 0.0:
        variance = 0.0  # all verdicts alike: the number of prompts is all there is to go by
    return _bounded(value, value * (1 - value) * math.sqrt(variance), len(prompts), len(prompts) - 2)


def _bounded(value: float, error: float, groups: int, freedom: int) -> Score:
    """Wilson's interval at the number of outcomes that would give the standard error ``error``."""
    from scipy.stats import norm, t

    upper = (1 + CONFIDENCE) / 2
    shrink = float(norm.ppf(upper) / t.ppf(upper, freedom)) ** 2
    effective = value * (1 - value) / error**2 if error > 0 else float(groups)
    low, high = wilson(value, max(1.0, effective * shrink))
    return Score(value, low, high, groups)


def _separated(x: Floats, p: Floats) -> bool:
    """Whether a threshold on ``x`` tells all wins from all losses, nothing being in between. [N], [N]"""
    won, lost = x[p == 1.0], x[p == 0.0]
    if len(won) + len(lost) < len(p) or not len(won) or not len(lost):
        return False
    return bool(won.min() >= lost.max() or lost.min() >= won.max())


def _fit(x: Floats, p: Floats, prompts: Sequence[str] | None = None) -> tuple[float, float]:
    """θ and its sandwich variance between ``prompts`` (0 without them). x, p: [N]"""
    design = np.column_stack([np.ones(len(x) + 2), np.append(x, [1.0, -1.0])])  # [N + 2, 2]
    target = np.append(p, [0.5, 0.5])
    weight = np.append(np.ones(len(x)), [PRIOR, PRIOR])
    beta = np.zeros(2)
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-design @ beta))
        hessian = (design * (weight * fitted * (1 - fitted))[:, None]).T @ design
        step = np.linalg.solve(hessian, design.T @ (weight * (target - fitted)))
        beta += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-10:
            break
    if prompts is None:
        return float(beta[0]), 0.0
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    rows = [number[prompt] for prompt in prompts]
    scores, pull = np.zeros((len(number), 2)), np.zeros((len(number), 2, 2))
    design, fitted = design[: len(x)], fitted[: len(x)]
    np.add.at(scores, rows, design * (p - fitted)[:, None])
    own = design[:, :, None] * design[:, None, :] * (fitted * (1 - fitted))[:, None, None]
    np.add.at(pull, rows, own)
    without = np.linalg.solve(hessian - pull, scores[:, :, None])[:, :, 0]  # change of β without each prompt
    groups = len(number)
    return float(beta[0]), float((groups - 1) / groups * (without[:, 0] ** 2).sum())


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))
