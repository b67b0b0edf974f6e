"""Which pair an annotator sees next, and in which order: functions of the plan and of the votes.

Every pair goes to ``per_pair`` annotators, in the plan's order. While somebody looks at a pair it is leased
to them, so that two people at work at the same moment do not both take its last place; a lease runs out.
A vote is never refused for want of a place: an extra vote does no harm, a lost one does.

A share of the pairs comes back to the annotator who voted on it, at least ``GAP`` votes later and with the
responses the other way round, so that agreeing with oneself cannot come from repeating a position. Nothing
that reaches the page tells it apart from a new pair. What cannot come back that late does not come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from cai.run.journal import derive_seed, digest

GAP = 10  # votes between the two showings of a pair to one annotator
LEASE = 900.0  # seconds


@dataclass(frozen=True)
class Plan:
    """``items`` in the order of showing; ``repeat`` is the share that is shown twice to an annotator."""

    items: tuple[str, ...]
    seed: int
    per_pair: int = 1
    repeat: float = 0.05

    @cached_property
    def known(self) -> Set[str]:
        """The items, to look one up."""
        return frozenset(self.items)


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


class Marks:
    """The standing marks, by annotator and by item. Kept up with each vote, so that what somebody sees next
    does not cost a look at everybody's votes.

    ``taken``: item → who has voted on it; a skip fills no place, a repeat none of its own.
    """

    def __init__(self, marks: Iterable[Mark] = ()):
        self._of: dict[str, dict[Showing, Mark]] = {}
        self.taken: dict[str, set[str]] = {}
        for mark in marks:
            self.append(mark)

    def of(self, annotator: str) -> Sequence[Mark]:
        """An annotator's marks in the order of casting."""
        return tuple(self._of.get(annotator, {}).values())

    def has(self, annotator: str, showing: Showing) -> bool:
        return showing in self._of.get(annotator, {})

    def append(self, mark: Mark) -> None:
        self._of.setdefault(mark.annotator, {})[mark.showing] = mark
        if not mark.skipped:
            self.taken.setdefault(mark.showing.item, set()).add(mark.annotator)

    def remove(self, annotator: str, showing: Showing) -> None:
        """Forget a mark that was taken back."""
        own = self._of[annotator]
        del own[showing]
        other = own.get(Showing(showing.item, not showing.repeat))
        if other is None or other.skipped:
            self.taken.get(showing.item, set()).discard(annotator)


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
    plan: Plan, annotator: str, marks: Marks, leases: Mapping[str, Lease], now: float
) -> Showing | None:
    """What ``annotator`` should see: what they hold, else a repeat that is due, else the next open pair."""
    held = leases.get(annotator)
    if (
        held
        and held.until > now
        and not marks.has(annotator, held.showing)
        and held.showing.item in plan.known
    ):
        return held.showing
    if (due := _due(plan, marks.of(annotator), annotator)) is not None:
        return due
    with_others = _held(annotator, leases, now)
    for item in plan.items:
        free = plan.per_pair - len(marks.taken.get(item, ()))
        if free <= 0 or marks.has(annotator, Showing(item)):
            continue
        if item not in with_others or len(with_others[item] - marks.taken.get(item, set())) < free:
            return Showing(item)
    return None


def progress(plan: Plan, annotator: str, marks: Marks, leases: Mapping[str, Lease], now: float) -> Progress:
    mine = marks.of(annotator)
    seen = {mark.showing.item for mark in mine}
    with_others = _held(annotator, leases, now)
    left = waiting = filled = 0
    for item in plan.items:
        taken = marks.taken.get(item, set())
        free = plan.per_pair - len(taken)
        filled += min(plan.per_pair, len(taken))
        if free > 0 and item not in seen:
            left += 1
            waiting += item in with_others and len(with_others[item] - taken) >= free
    return Progress(
        own=sum(not mark.skipped for mark in mine),
        left=left,
        waiting=waiting,
        skipped=sum(mark.skipped for mark in mine),
        all=filled,
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


def _due(plan: Plan, mine: Sequence[Mark], annotator: str) -> Showing | None:
    """The earliest vote of ``annotator`` that is drawn to come back and lies ``GAP`` votes behind."""
    again = {mark.showing.item for mark in mine if mark.showing.repeat}
    for mark in mine[: max(0, len(mine) - GAP)]:
        item = mark.showing.item
        if mark.skipped or item in again or item not in plan.known:
            continue
        if comes_back(plan, annotator, item):
            return Showing(item, repeat=True)
    return None


def _held(annotator: str, leases: Mapping[str, Lease], now: float) -> dict[str, set[str]]:
    """Item → who else is looking at it."""
    found: dict[str, set[str]] = {}
    for name, lease in leases.items():
        if name != annotator and lease.until > now and not lease.showing.repeat:
            found.setdefault(lease.showing.item, set()).add(name)
    return found
