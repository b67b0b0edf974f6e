"""How far the gold reward lies below its best when training ends: ``monitors.reward_against_kl``.

Steps are noisy, and the best of many noisy steps is the luckiest. So the steps are cut into four stretches,
and the last one is compared with the best of those before it, each with the spread between its steps. Few
points, such as best-of-n's, are stretches of their own with their own intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cai.statistics.difference import difference
from cai.statistics.intervals import CONFIDENCE, interval
from cai.values.types import Score

STRETCHES = 4


@dataclass(frozen=True, slots=True)
class Fall:
    """Gold of the last stretch minus that of the best before, in standard deviations of a response's gold.

    ``proxy`` says what the proxy did meanwhile.
    """

    change: Score
    best_root_kl: float
    root_kl: float
    proxy: str


def fall_of_gold(rows: Sequence[Mapping[str, Any]]) -> Fall | str:
    """The fall over one method's rows of overoptimisation.parquet, or why there is none."""
    known = sorted((row for row in rows if row["gold_value"] is not None), key=lambda row: row["step"])
    if len(known) < 2:
        return f"{len(known)} step{'' if len(known) == 1 else 's'} with a gold reward, 2 needed"
    unit = math.sqrt(sum(_variance(row) for row in known) / len(known))
    if unit == 0.0:
        return "the gold reward is the same for all responses"
    *before, last = _stretches(known)
    best = max(before, key=lambda stretch: _gold(stretch).value)
    gap = difference(_gold(best), _gold(last))
    change = Score(gap.value / unit, gap.low / unit, gap.high / unit, gap.n)
    return Fall(change, _mean(best, "root_kl"), _mean(last, "root_kl"), _proxy(best, last))


def _stretches(rows: Sequence[Mapping[str, Any]]) -> list[Sequence[Mapping[str, Any]]]:
    if len(rows) < 2 * STRETCHES:
        return [[row] for row in rows]
    cuts = [len(rows) * i // STRETCHES for i in range(STRETCHES + 1)]
    return [rows[start:end] for start, end in pairwise(cuts)]


def _gold(stretch: Sequence[Mapping[str, Any]]) -> Score:
    if len(stretch) == 1:
        row = stretch[0]
        return Score(row["gold_value"], row["gold_low"], row["gold_high"], int(row["gold_n"]))
    score = interval([row["gold_value"] for row in stretch])
    assert score is not None
    return score


def _variance(row: Mapping[str, Any]) -> float:
    """Of one response's gold; in a table of an earlier version, from the interval of their mean."""
    if row.get("gold_deviation") is not None:
        return float(row["gold_deviation"]) ** 2
    from scipy.stats import t

    n = row["gold_n"]
    half = (row["gold_high"] - row["gold_low"]) / 2
    return float(n * (half / t.ppf((1 + CONFIDENCE) / 2, max(1, n - 1))) ** 2)


def _proxy(best: Sequence[Mapping[str, Any]], last: Sequence[Mapping[str, Any]]) -> str:
    if any(row["proxy_value"] is None for row in (*best, *last)):
        return "is not known"
    before, after = _mean(best, "proxy_value"), _mean(last, "proxy_value")
    return f"{'rose' if after > before else 'fell'} from {before:.3g} to {after:.3g}"


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(float(row[name]) for row in rows) / len(rows)
