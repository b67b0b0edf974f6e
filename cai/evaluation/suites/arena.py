"""Every model against every other on the held-out prompts: win rates, and Bradley–Terry ratings by axis.

A win in both orders of showing counts 1, a win in one of them is a tie. Harmlessness and helpfulness are
rated apart, so that what one cost the other can be seen. Ratings are on the Elo scale with the baseline at
1000. A model that never lost (or never won) has no finite rating of its own: a note says whose ratings rest
on the half game that keeps them finite (``statistics/bradley_terry.py``).
"""

from __future__ import annotations

from itertools import combinations

from cai.evaluation.bench import Bench, Findings
from cai.evaluation.judging.pairwise import Verdict, axes, row, verdicts
from cai.statistics.bradley_terry import Game, ratings
from cai.statistics.length_control import Duel, win_rate
from cai.values.errors import CaiError, UsageError
from cai.values.types import Score


async def measure(bench: Bench) -> Findings:
    """``<axis>/<model>`` (rating) and ``win_rate/<model>/<other>`` (over all axes) of all models.

    Raises:
        UsageError: there are fewer than two models.
    """
    names = [contestant.name for contestant in bench.contestants]
    if len(names) < 2:
        raise UsageError("the arena needs two models or more: name another one")
    found, failures = await verdicts(bench, list(combinations(names, 2)))
    scores: dict[str, Score] = {}
    notes: list[str] = [f"ratings are on the Elo scale, {bench.baseline} at 1000"]
    for axis in axes(bench):
        rated, note = _rated(axis, [v for v in found if v.axis == axis], bench.baseline)
        scores |= rated
        notes += note
    return Findings(scores | _matrix(found, names), [row(v) for v in found], failures, tuple(notes))


def _rated(axis: str, found: list[Verdict], baseline: str) -> tuple[dict[str, Score], list[str]]:
    games = [Game(v.prompt_id, v.first, v.second, v.win) for v in found]
    try:
        table = ratings(games, baseline)
    except CaiError as error:
        return {}, [f"{axis}: no ratings ({error})"]
    notes = []
    if table.unbounded:
        who = ", ".join(table.unbounded)
        notes.append(f"{axis}: {who} won or lost every game; the size of that rating means little")
    return {f"{axis}/{name}": score for name, score in table.scores.items()}, notes


def _matrix(found: list[Verdict], names: list[str]) -> dict[str, Score]:
    """``win_rate/<row>/<column>``: how often the row's model wins against the column's, all axes together."""
    duels: dict[tuple[str, str], list[Duel]] = {}
    for v in found:
        duels.setdefault((v.first, v.second), []).append(Duel(v.prompt_id, v.win))
        duels.setdefault((v.second, v.first), []).append(Duel(v.prompt_id, 1 - v.win))
    rates = {(a, b): win_rate(duels.get((a, b), [])) for a in names for b in names if a != b}
    return {f"win_rate/{a}/{b}": rate for (a, b), rate in rates.items() if rate is not None}
