"""Win rate of every model against a baseline on the held-out prompts, raw and length-controlled.

The judge compares in both orders: a win in both counts 1, a win in one of them is a tie and counts 0.5.
``<axis>_length_controlled`` is what the win rate would be at the baseline's length (Dubois et al. 2024),
since judges favour long answers. ``soft`` is the mean probability instead, which a doubtful judge draws
towards 0.5. ``flips`` is how often the winner changed with the order: near 0.5 the verdicts say little.
"""

from __future__ import annotations

from cai.evaluation.bench import Bench, Findings
from cai.evaluation.judging.pairwise import Verdict, axes, row, verdicts
from cai.statistics.clusters import clustered_proportion
from cai.statistics.length_control import Duel, length_controlled, win_rate
from cai.values.errors import UsageError
from cai.values.types import Score


async def measure(bench: Bench) -> Findings:
    """``<axis>`` and its ``_length_controlled``, ``_soft`` and ``_flips`` of all models but the baseline.

    Raises:
        UsageError: there is nobody to compare with the baseline.
    """
    others = [c.name for c in bench.contestants if c.name != bench.baseline]
    if not others:
        raise UsageError(f"winrate compares models with {bench.baseline}: name another one")
    found, failures = await verdicts(bench, [(name, bench.baseline) for name in others])
    scores: dict[str, Score | None] = {}
    for axis in axes(bench):
        for name in others:
            own = [v for v in found if v.axis == axis and v.first == name]
            duels = [duel(v) for v in own]
            asked = [v for v in own if v.orders]
            scores[f"{axis}/{name}"] = win_rate(duels)
            scores[f"{axis}_length_controlled/{name}"] = length_controlled(duels)
            scores[f"{axis}_soft/{name}"] = win_rate([Duel(v.prompt_id, v.p) for v in own])
            flips = clustered_proportion([v.flipped for v in asked], [v.prompt_id for v in asked])
            scores[f"{axis}_flips/{name}"] = flips
    return Findings(
        {key: score for key, score in scores.items() if score is not None},
        [row(v) for v in found],
        failures,
        (f"win rates are against {bench.baseline}; 0.5 is no difference",),
    )


def duel(verdict: Verdict) -> Duel:
    return Duel(verdict.prompt_id, verdict.win, verdict.length_first, verdict.length_second)
