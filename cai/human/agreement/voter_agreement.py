"""How far people agree with each other, with themselves and with the AI labeler, and its calibration.

    agreement = measure(human_votes, ai_labels)
    agreement.scores["agreement/alpha"]          # Score(value, low, high, n)

Classes are three and nominal: ``b``, tie, ``a``; the strength of a vote only enters α with interval distance.
Which response is ``a`` means nothing, so α and κ count every pair in both orders: otherwise agreement by
chance, and with it the figure, would depend on the order in which a file happens to hold its pairs.
Intervals are between prompts, and ``n`` counts prompts. What does not exist (α of votes that are all the
same, κ without a pair in common) is no figure but a note that says why. docs/agreement.md lists the figures.

Left out on purpose: what to do about it. Aggregation, recalibration and mixing are modules of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

from cai.human.agreement import bias, raters
from cai.human.agreement.overlap import Bin, Overlap, overlap, pair_scores, reliability_curve
from cai.human.agreement.raters import Unit
from cai.statistics import prediction, reliability
from cai.statistics.clusters import clustered_proportion
from cai.values.types import Preference, Score

MIN_PAIRS = 10  # in common, before two named people, or one and the AI, are compared


@dataclass(frozen=True, slots=True)
class Counts:
    """What the figures rest on. ``pairs`` are pair and question, ``shared`` those with two raters."""

    votes: int = 0
    ties: int = 0
    unscored: int = 0
    repeated: int = 0
    pairs: int = 0
    shared: int = 0
    people: int = 0
    ai: int = 0
    overlap: int = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """Figures by name, the reliability curve, and notes on what could not be measured and why."""

    scores: Mapping[str, Score]
    curve: tuple[Bin, ...]
    notes: tuple[str, ...]
    counts: Counts


@dataclass(slots=True)
class _Figures:
    """Figures in the making; what is undefined becomes a note where ``why`` is asked for."""

    scores: dict[str, Score] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, score: Score | None) -> None:
        if score is not None:
            self.scores[f"agreement/{name}"] = score

    def attempt(self, name: str, measure: Callable[[], Score], why: bool = False) -> None:
        try:
            self.add(name, measure())
        except reliability.Undefined as undefined:
            if why:
                self.notes.append(f"no {name}: {undefined}")


def measure(human: Sequence[Preference], ai: Sequence[Preference]) -> Agreement:
    """Every figure that these votes and labels have. Votes in ``human`` that a model cast count as ``ai``."""
    labels = [label for label in (*ai, *human) if label.source.kind == "ai" and label.p is not None]
    units = raters.units(vote for vote in human if vote.source.kind == "human")
    joined = overlap(units, labels)
    counts = _counts(units, len(labels), len(joined))
    figures = _Figures()
    if counts.votes == counts.unscored:
        figures.notes.append("no scored human vote" if counts.votes else "no human vote")
    else:
        _alphas(figures, units)
        _between_people(figures, units)
        _biases(figures, units)
        if labels and not joined:
            figures.notes.append("no AI label on a pair that people voted on")
    if labels:
        _of_the_ai(figures, labels, joined)
    return Agreement(figures.scores, reliability_curve(pair_scores(joined)), tuple(figures.notes), counts)


def _counts(units: Sequence[Unit], ai: int, joined: int) -> Counts:
    scored = sum(len(unit.scored) for unit in units)
    votes = sum(len(unit.votes) for unit in units)
    people = {vote.source.name for unit in units for vote in unit.votes}
    return Counts(
        votes=votes,
        ties=sum(vote.p == 0.5 for unit in units for vote in unit.scored),
        unscored=votes - scored,
        repeated=scored - sum(len(unit.raters) for unit in units),
        pairs=len(units),
        shared=sum(len(unit.raters) > 1 for unit in units),
        people=sum(map(raters.is_person, people)),
        ai=ai,
        overlap=joined,
    )


def _alphas(figures: _Figures, units: Sequence[Unit]) -> None:
    """α over everything, by question and by origin of the votes; with interval distance where graded."""
    groups: dict[str, list[Unit]] = {"": list(units)}
    origins: dict[str, list[Preference]] = defaultdict(list)
    for unit in units:
        for principle in unit.question:
            groups.setdefault(f"/principle/{principle}", []).append(unit)
        for vote in unit.votes:
            origins[raters.origin(vote)].append(vote)
    if len(origins) > 1:
        groups |= {f"/source/{name}": raters.units(votes) for name, votes in origins.items()}
    for group, members in groups.items():
        prompts = 2 * [unit.prompt for unit in members]
        sides = [unit.categories for unit in members]
        sides += [[2 - side for side in unit] for unit in sides]
        figures.attempt(f"alpha{group}", partial(reliability.alpha, sides, prompts), why=not group)
        values = [unit.values for unit in members]
        if any(value not in (0.0, 0.5, 1.0) for unit in values for value in unit):
            values += [[1 - value for value in unit] for unit in values]
            graded = partial(reliability.alpha, values, prompts, "interval")
            figures.attempt(f"alpha_interval{group}", graded, why=not group)


def _between_people(figures: _Figures, units: Sequence[Unit]) -> None:
    """κ of each two people, of each person with all others, and self-agreement."""
    together: dict[tuple[str, str], _Votes] = defaultdict(_Votes)
    with_others: dict[str, _Votes] = defaultdict(_Votes)
    selves: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    for unit in units:
        people = {
            v.source.name: v.p for v in unit.raters if v.p is not None and raters.is_person(v.source.name)
        }
        for first, second in combinations(sorted(people), 2):
            x, y = raters.category(people[first]), raters.category(people[second])
            together[first, second].add(x, y, unit.prompt)
            share = 1 / (len(people) - 1)
            with_others[first].add(x, y, unit.prompt, share)
            with_others[second].add(y, x, unit.prompt, share)
        for name, same in _again(unit):
            selves[name].append((same, unit.prompt))
    for (first, second), votes in sorted(together.items()):
        if votes.pairs >= MIN_PAIRS:
            figures.attempt(f"kappa/{_named(first)}/{_named(second)}", votes.kappa)
    for name, votes in sorted(with_others.items()):
        if votes.pairs >= MIN_PAIRS:
            figures.attempt(f"kappa/{_named(name)}", votes.kappa)
    selves["human"] = [same for name in list(selves) for same in selves[name]]
    for name, found in sorted(selves.items()):
        score = clustered_proportion([same for same, _ in found], [prompt for _, prompt in found])
        figures.add(f"self/{name if name == 'human' else _named(name)}", score)


def _again(unit: Unit) -> list[tuple[str, bool]]:
    """For each further vote of a person on the unit: whether it takes the side of the first."""
    first: dict[str, int] = {}
    found = []
    for vote in unit.scored:
        name = vote.source.name
        if vote.p is None or not raters.is_person(name):
            continue
        side = raters.category(vote.p)
        if name in first:
            found.append((name, side == first[name]))
        first.setdefault(name, side)
    return found


def _biases(figures: _Figures, units: Sequence[Unit]) -> None:
    everyone = [vote for unit in units for vote in unit.raters]
    figures.add("position/human", bias.position(everyone))
    figures.add("length/human", bias.length(everyone))
    by_person: dict[str, list[Preference]] = defaultdict(list)
    for vote in everyone:
        if raters.is_person(vote.source.name):
            by_person[vote.source.name].append(vote)
    for name, votes in sorted(by_person.items()):
        if len(votes) >= MIN_PAIRS:
            figures.add(f"position/{_named(name)}", bias.position(votes))
            figures.add(f"length/{_named(name)}", bias.length(votes))


def _of_the_ai(figures: _Figures, labels: Sequence[Preference], joined: Sequence[Overlap]) -> None:
    """Its own biases over all its labels, and its agreement with people on the overlap."""
    figures.add("position/ai", bias.position(labels))
    figures.add("position_mean/ai", bias.position_mean(labels))
    figures.add("flipped/ai", bias.flipped(labels))
    figures.add("length/ai", bias.length(labels))
    figures.add("length_excess/ai", bias.longer_than_people(joined))
    for name, score in prediction.scores(pair_scores(joined)).items():
        metric, _, group = name.partition("/")
        figures.add(f"{metric}/ai{'/' if group else ''}{group}", score)
    groups: dict[str, _Votes] = defaultdict(_Votes)
    for label, unit in joined:
        assert label.p is not None
        own, sides = raters.category(label.p), unit.categories
        principles = dict.fromkeys(f"/principle/{j.principle_id}" for j in label.judgements)
        for group in ("", f"/source/{label.source.name}", *principles):
            for side in sides:
                groups[f"kappa/ai{group}"].add(side, own, unit.prompt, 1 / len(sides))
        for vote in unit.raters:
            if vote.p is not None and raters.is_person(vote.source.name):
                name = f"kappa/{_named(vote.source.name)}/ai"
                groups[name].add(raters.category(vote.p), own, unit.prompt)
    for name, votes in groups.items():
        if name.startswith("kappa/ai") or votes.pairs >= MIN_PAIRS:
            figures.attempt(name, votes.kappa, why=name == "kappa/ai")


@dataclass(slots=True)
class _Votes:
    """Two raters' sides on the same pairs, each pair in both orders."""

    first: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, first: int, second: int, prompt: str, weight: float = 1.0) -> None:
        self.first += (first, 2 - first)
        self.second += (second, 2 - second)
        self.prompts += (prompt, prompt)
        self.weights += (weight, weight)

    @property
    def pairs(self) -> int:
        """How many there are: the votes of several others on a pair are one pair."""
        return round(sum(self.weights) / 2)

    def kappa(self) -> Score:
        return reliability.kappa(self.first, self.second, self.prompts, self.weights)


def _named(name: str) -> str:
    """A person's name within a figure's: not one of ours, and in one piece."""
    name = name.replace("/", "_")
    return f"{name} (person)" if name in {"human", "ai"} else name
