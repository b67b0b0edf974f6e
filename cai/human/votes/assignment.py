"""Which pair an annotator sees next, and in which order: pure functions of the plan and of the votes.

Every pair goes to ``per_pair`` annotators, in the plan's order. While somebody looks at a pair it is leased
to them, so that two people at work at the same moment do not both take its last place; a lease runs out.
A vote is never refused for want of a place: an extra vote does no harm, a lost one does.

A share of the pairs comes back to the annotator who voted on it, at least ``GAP`` votes later and with the
responses the other way round, so that agreeing with oneself cannot come from repeating a position. Nothing
that reaches the page tells it apart from a new pair. What cannot come back that late does not come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cai.run.journal import derive_seed, digest

GAP = 10  # votes between the two showings of a pair to one annotator
LEASE = 900.0  # seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """``items`` in the order of showing; ``repeat`` is the share that is shown twice to an annotator."""

    items: tuple[str, ...]
    seed: int
    per_pair: int = 1
    repeat: float = 0.05


@dataclass(frozen=True, slots=True)
class Showing:
    """An item, and whether this annotator has voted on it before."""

    item: str
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """What counts of a standing vote: whose it is, about what, and whether it was a skip."""

    annotator: str
    showing: Showing
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """An annotator's hold on what they are looking at, until a moment of the server's clock."""

    showing: Showing
    until: float


@dataclass(frozen=True, slots=True)
class Progress:
    """``left`` is what is still open to the annotator, ``waiting`` the part of it that others hold now.

    ``own`` counts their votes, ``all`` of the ``places`` those that anybody has filled.
    """

    own: int
    left: int
    waiting: int
    skipped: int
    all: int
    places: int


def next_showing(
    plan: Plan, annotator: str, marks: Sequence[Mark], leases: Mapping[str, Lease], now: float
) -> Showing | None:
    """What ``annotator`` should see: what they hold, else a repeat that is due, else the next open pair."""
    done = {mark.showing for mark in marks if mark.annotator == annotator}
    held = leases.get(annotator)
    if held and held.until > now and held.showing not in done and held.showing.item in plan.items:
        return held.showing
    if (due := _due(plan, annotator, marks)) is not None:
        return due
    taken = _taken(marks)
    with_others = _held(annotator, leases, now)
    for item in plan.items:
        others = taken.get(item, frozenset()) | with_others.get(item, frozenset())
        if Showing(item) not in done and len(others) < plan.per_pair:
            return Showing(item)
    return None


def progress(
    plan: Plan, annotator: str, marks: Sequence[Mark], leases: Mapping[str, Lease], now: float
) -> Progress:
    mine = [mark for mark in marks if mark.annotator == annotator]
    seen = {mark.showing.item for mark in mine}
    taken = _taken(marks)
    with_others = _held(annotator, leases, now)
    open_ = [item for item in plan.items if item not in seen and len(taken.get(item, ())) < plan.per_pair]
    waiting = sum(
        len(taken.get(item, frozenset()) | with_others.get(item, frozenset())) >= plan.per_pair
        for item in open_
    )
    return Progress(
        own=sum(not mark.skipped for mark in mine),
        left=len(open_),
        waiting=waiting,
        skipped=sum(mark.skipped for mark in mine),
        all=sum(min(plan.per_pair, len(taken.get(item, ()))) for item in plan.items),
        places=plan.per_pair * len(plan.items),
    )


def shown_first(seed: int, annotator: str, showing: Showing) -> Literal["a", "b"]:
    """Which response comes first: a fair coin per annotator and item, turned over for the repeat."""
    heads = derive_seed("order", seed, annotator, showing.item) % 2 == 0
    return "a" if heads != showing.repeat else "b"


def ticket(seed: int, annotator: str, showing: Showing) -> str:
    """Names a showing with its order: a vote with another ticket was cast on something else."""
    first = shown_first(seed, annotator, showing)
    return digest("showing", annotator, showing.item, showing.repeat, first)[:24]


def shuffled(names: Sequence[str], seed: int) -> tuple[str, ...]:
    """``names`` in an order that depends on them and the seed alone."""
    return tuple(sorted(names, key=lambda name: digest("shuffle", seed, name)))


def comes_back(plan: Plan, annotator: str, item: str) -> bool:
    """Whether an item was drawn to be shown twice to ``annotator``."""
    return derive_seed("repeat", plan.seed, annotator, item) < plan.repeat * 2**31


def _due(plan: Plan, annotator: str, marks: Sequence[Mark]) -> Showing | None:
    """The earliest vote of ``annotator`` that is drawn to come back and lies ``GAP`` votes behind."""
    mine = [mark for mark in marks if mark.annotator == annotator]
    again = {mark.showing.item for mark in mine if mark.showing.repeat}
    wanted = set(plan.items)
    for mark in mine[: max(0, len(mine) - GAP)]:
        item = mark.showing.item
        if mark.skipped or item in again or item not in wanted:
            continue
        if comes_back(plan, annotator, item):
            return Showing(item, repeat=True)
    return None


def _taken(marks: Sequence[Mark]) -> dict[str, frozenset[str]]:
    """Item → who has voted on it; a skip fills no place, a repeat none of its own."""
    found: dict[str, set[str]] = {}
    for mark in marks:
        if not mark.skipped:
            found.setdefault(mark.showing.item, set()).add(mark.annotator)
    return {item: frozenset(names) for item, names in found.items()}


def _held(annotator: str, leases: Mapping[str, Lease], now: float) -> dict[str, frozenset[str]]:
    """Item → who else is looking at it."""
    found: dict[str, set[str]] = {}
    for name, lease in leases.items():
        if name != annotator and lease.until > now and not lease.showing.repeat:
            found.setdefault(lease.showing.item, set()).add(name)
    return {item: frozenset(names) for item, names in found.items()}
