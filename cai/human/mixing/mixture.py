"""Human votes and AI labels as one training set, by stated rules, every row accounted for.

    mixture = mix(ai, votes, held_out, config.human, seed)
    mixture.preferences      what the trainers learn
    mixture.counts           what became of every row: {("pocket", "taken"): 412, ...}

In this order: votes on a pair become labels (``human.aggregate``), weighted (``human.weight``); AI labels are
recalibrated on the pairs that people judged too (``human.recalibrate``); rows go that have no side (both bad,
no verdict), with them the AI's labels of pairs that people found both bad, and rows close to an evaluation
prompt or to another pair; tags decide whose labels count (``human.by_tag``); where both judged a pair, one
rule decides (``human.conflict``); share and size are reached by leaving rows out, drawn by seed, never by
repeating any. The same input and seed give the same mixture.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cai.config.run_config import HumanConfig
from cai.data.verdicts import BOTH_BAD
from cai.human.mixing import conflicts, duplicates
from cai.human.mixing.aggregate import aggregate
from cai.human.mixing.calibrated import recalibrated
from cai.human.pairs import pair_key
from cai.values.errors import UsageError
from cai.values.types import Preference, Prompt, Score


@dataclass(frozen=True, slots=True)
class Mixture:
    """``counts`` has a number for every (source, fate); ``notes`` say in words what the data decided."""

    preferences: tuple[Preference, ...]
    counts: Mapping[tuple[str, str], int]
    scores: Mapping[str, Score] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Ledger:
    """Where every row went. A row is entered once: when it leaves, or at the end."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def enter(self, row: Preference, fate: str) -> None:
        self.counts[group(row), fate] += 1

    def keep(
        self, rows: Sequence[Preference], fate: str, keeps: Callable[[Preference], bool]
    ) -> list[Preference]:
        """The rows that ``keeps`` accepts; the others have ended as ``fate``."""
        kept = []
        for row in rows:
            if keeps(row):
                kept.append(row)
            else:
                self.enter(row, fate)
        return kept


def group(row: Preference) -> str:
    """People together, and each AI labeler by its name."""
    return "human" if row.source.kind == "human" else row.source.name


def mix(
    ai: Sequence[Preference],
    votes: Sequence[Preference],
    held_out: Sequence[Prompt],
    config: HumanConfig,
    seed: int,
) -> Mixture:
    """The training pairs of ``ai`` labels and human ``votes``; none of them about a ``held_out`` prompt.

    Raises:
        UsageError: a share of human labels is asked for and there are none, or a share of AI labels.
        CaiError: recalibration is asked for, and too few pairs have both.
    """
    ledger = Ledger()
    labels = aggregate(votes, config.aggregate)
    ai, scores, notes = recalibrated(ai, votes, config)
    people = [replace(row, weight=row.weight * config.weight) for row in labels.preferences]
    rows = ledger.keep([*people, *ai], BOTH_BAD, lambda row: row.unscored != BOTH_BAD)
    rows = ledger.keep(rows, "no verdict", lambda row: row.p is not None)
    bad = _both_bad(people, config)
    rows = ledger.keep(rows, "people found both bad", lambda row: pair_key(row.comparison) not in bad)
    rows = ledger.keep(rows, "weight 0", lambda row: row.weight > 0)
    if config.near_duplicates is not None:
        rows = _without_held_out(rows, held_out, config.near_duplicates, ledger)
        rows = _without_repeats(rows, config.near_duplicates, ledger)
    rows = ledger.keep(rows, "left to the other source by its tag", lambda row: _wanted(row, config.by_tag))
    rows, told = conflicts.resolve(rows, votes, config.conflict, ledger.enter)
    rows = _to_size(rows, config, random.Random(seed), ledger)
    for row in rows:
        ledger.enter(row, "taken")
    return Mixture(tuple(rows), dict(ledger.counts), scores, (*notes, *told))


def _both_bad(people: Sequence[Preference], config: HumanConfig) -> set[str]:
    """Pairs of which people said nothing but that both responses are bad: no AI label makes a pair of them.

    Empty where the AI's label is averaged with people's votes, of which there are none then. Where people's
    labels don't count, by weight or by tag, this one doesn't either.
    """
    if config.conflict == "average" or config.weight == 0:
        return set()
    heard = [row for row in people if _wanted(row, config.by_tag)]
    sided = {pair_key(row.comparison) for row in heard if row.p is not None}
    return {pair_key(row.comparison) for row in heard if row.unscored == BOTH_BAD} - sided


def _without_held_out(
    rows: Sequence[Preference], held_out: Sequence[Prompt], threshold: float, ledger: Ledger
) -> list[Preference]:
    """Rows whose last question is not nearly an evaluation prompt's."""
    asked = {_question(row.comparison.prompt) for row in rows}
    near = duplicates.resembling(asked, map(_question, held_out), threshold)
    return ledger.keep(
        rows, "nearly an evaluation prompt", lambda row: _question(row.comparison.prompt) not in near
    )


def _without_repeats(rows: Sequence[Preference], threshold: float, ledger: Ledger) -> list[Preference]:
    """Rows whose pair does not nearly repeat an earlier, different one. Votes on the same pair all stay."""
    texts = {pair_key(row.comparison): _text(row) for row in rows}
    repeats = duplicates.nearly_repeats(list(texts.values()), threshold)
    dropped = {key for key, earlier in zip(texts, repeats, strict=True) if earlier is not None}
    return ledger.keep(
        rows, "nearly repeats another pair", lambda row: pair_key(row.comparison) not in dropped
    )


def _question(prompt: Prompt) -> str:
    """The user's last turn."""
    return prompt.messages[-1].content


def _text(row: Preference) -> str:
    pair = row.comparison
    return "\n".join([*(turn.content for turn in pair.prompt.messages), *sorted((pair.a, pair.b))])


def _wanted(row: Preference, by_tag: Mapping[str, str]) -> bool:
    """Whether every rule about one of the row's tags lets its source speak."""
    return all(
        by_tag.get(tag, row.source.kind) in (row.source.kind, "both") for tag in row.comparison.prompt.tags
    )


def _to_size(
    rows: Sequence[Preference], config: HumanConfig, draw: random.Random, ledger: Ledger
) -> list[Preference]:
    """``rows`` at the share and size asked for, in their order."""
    people = [row for row in rows if row.source.kind == "human"]
    models = [row for row in rows if row.source.kind == "ai"]
    share = config.share
    if share is None:
        return _drawn(rows, config.size, draw, ledger)
    if share > 0 and not people:
        raise UsageError(
            f"human.share is {share} and there is no human label to take; cast votes with cai annotate, "
            "import some with cai import, or name a file with --human"
        )
    if share < 1 and not models:
        raise UsageError(
            f"human.share is {share} and there is no AI label to take; label first, or ask for 1"
        )
    if config.share_of == "weight":
        return _reweighted(_drawn(rows, config.size, draw, ledger), share)
    total = config.size or math.inf
    if share > 0:
        total = min(total, len(people) / share)
    if share < 1:
        total = min(total, len(models) / (1 - share))
    kept = {
        id(row)
        for several, part in ((people, share), (models, 1 - share))
        for row in draw.sample(several, min(len(several), round(total * part)))
    }
    return ledger.keep(rows, "left out to reach the share", lambda row: id(row) in kept)


def _drawn(
    rows: Sequence[Preference], size: int | None, draw: random.Random, ledger: Ledger
) -> list[Preference]:
    if size is None or len(rows) <= size:
        return list(rows)
    kept = {id(row) for row in draw.sample(list(rows), size)}
    return ledger.keep(rows, "left out to reach the size", lambda row: id(row) in kept)


def _reweighted(rows: Sequence[Preference], share: float) -> list[Preference]:
    """All rows, weighted so that people's weigh ``share`` of the whole and the mean weight is 1."""
    whole = {kind: sum(row.weight for row in rows if row.source.kind == kind) for kind in ("human", "ai")}
    factor = {
        kind: part * len(rows) / whole[kind] if whole[kind] else 0.0
        for kind, part in (("human", share), ("ai", 1 - share))
    }
    return [replace(row, weight=row.weight * factor[row.source.kind]) for row in rows]
