"""A pair that both people and the AI judged: whose label the training sees.

human     people's label stands and the AI's goes.
average   P = (Σ votes + k P_AI) / (votes + k): the AI's label weighs as much as k votes. k is the strength of
          a beta prior around P_AI, fitted to the votes on pairs that two or more people judged (maximum
          likelihood of the beta-binomial). Where fewer than ``ENOUGH`` pairs have that, k is 1.
drop      both go where they prefer different responses; where they agree, people's label stands.

What counts as the same question is ``overlap.py``'s rule. Labels must be calibrated before they are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from cai.human.agreement import raters
from cai.human.agreement.overlap import CERTAIN, Overlap, overlap
from cai.human.agreement.raters import Question, Unit
from cai.human.pairs import pair_key
from cai.values.types import Preference, Source

ENOUGH = 20
_STRENGTHS = (0.1, 100.0)

Enter = Callable[[Preference, str], None]
Key = tuple[str, Question]


def resolve(
    rows: Sequence[Preference], votes: Iterable[Preference], rule: str, enter: Enter
) -> tuple[list[Preference], list[str]]:
    """``rows`` (scored, of both kinds) with no pair judged by both, and what to tell about it.

    ``enter(row, fate)`` is called for each row that goes. A row that the average makes stands in the place of
    the first of people's rows on its pair, so the number of rows never grows.
    """
    units = raters.units(vote for vote in votes if vote.source.kind == "human")
    there = {_key(row) for row in rows if row.source.kind == "human"}
    joined = overlap(
        [unit for unit in units if (unit.key, unit.question) in there],
        [row for row in rows if row.source.kind == "ai"],
    )
    if not joined:
        return list(rows), []
    gone = {label.comparison.id for label, _ in joined}
    if rule == "average":
        return _averaged(rows, joined, gone, enter)
    against = {(u.key, u.question) for label, u in joined if _disagree(label, u)} if rule == "drop" else set()
    kept = []
    for row in rows:
        if row.source.kind == "ai" and row.comparison.id in gone:
            enter(row, "people judged the pair too")
        elif row.source.kind == "human" and _key(row) in against:
            enter(row, "people and AI disagree")
        else:
            kept.append(row)
    return kept, []


def prior_strength(joined: Iterable[Overlap]) -> float | None:
    """k: how many votes an AI label is worth. None where too few pairs have two voters or more."""
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import betaln

    several = [(label, unit) for label, unit in joined if len(unit.raters) > 1]
    if len(several) < ENOUGH:
        return None
    p = np.array([label.p for label, _ in several], float).clip(CERTAIN, 1 - CERTAIN)
    for_a = np.array([sum(unit.values) for _, unit in several], float)
    count = np.array([len(unit.raters) for _, unit in several], float)

    def loss(log_k: float) -> float:
        a, b = np.exp(log_k) * p, np.exp(log_k) * (1 - p)
        return float((betaln(a, b) - betaln(a + for_a, b + count - for_a)).sum())

    bounds = tuple(float(np.log(k)) for k in _STRENGTHS)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def _averaged(
    rows: Sequence[Preference], joined: Sequence[Overlap], gone: set[str], enter: Enter
) -> tuple[list[Preference], list[str]]:
    fitted = prior_strength(joined)
    k = 1.0 if fitted is None else fitted
    pooled: dict[Key, tuple[Unit, list[Preference]]] = {}
    for label, unit in joined:
        pooled.setdefault((unit.key, unit.question), (unit, []))[1].append(label)
    kept: list[Preference] = []
    done: set[Key] = set()
    for row in rows:
        key = _key(row)
        if row.source.kind == "ai" and row.comparison.id in gone:
            enter(row, "averaged with people's votes")
        elif row.source.kind == "human" and key in pooled:
            if key in done:
                enter(row, "averaged with another vote on the pair")
            else:
                done.add(key)
                kept.append(_average(row, *pooled[key], k))
        else:
            kept.append(row)
    how = "assumed: too few pairs have several voters" if fitted is None else "fitted"
    return kept, [f"an AI label counts as {k:.2f} votes ({how})"]


def _average(row: Preference, unit: Unit, labels: Sequence[Preference], k: float) -> Preference:
    share = sum(label.p for label in labels if label.p is not None) / len(labels)
    votes = len(unit.raters)
    p = (sum(unit.values) + k * share) / (votes + k)
    name = f"average of {votes} and {labels[0].source.name}"
    judged = replace(row, comparison=unit.comparison, p=p, source=Source("human", name))
    return replace(judged, judgements=raters.oriented(row, unit.comparison).judgements)


def _disagree(label: Preference, unit: Unit) -> bool:
    """Whether they prefer different responses; a tie disagrees with nobody. Both in the unit's order."""
    assert label.p is not None and unit.share is not None
    return (label.p - 0.5) * (unit.share - 0.5) < 0


def _key(row: Preference) -> Key:
    return pair_key(row.comparison), raters.question(row)
