"""Which pair comes next: places, leases, repeats, and the order of showing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cai.human.votes import assignment
from cai.human.votes.assignment import (
    GAP,
    LEASE,
    Lease,
    Mark,
    Marks,
    Plan,
    Progress,
    Showing,
    comes_back,
    shown_first,
    shuffled,
    ticket,
)

ABC = Plan(("a", "b", "c"), seed=1, repeat=0.0)


def mark(annotator: str, item: str, skipped: bool = False, repeat: bool = False) -> Mark:
    return Mark(annotator, Showing(item, repeat), skipped)


def next_showing(
    plan: Plan, annotator: str, marks: list[Mark], leases: dict[str, Lease], now: float
) -> Showing | None:
    return assignment.next_showing(plan, annotator, Marks(marks), leases, now)


def work(plan: Plan, annotator: str, most: int = 1000) -> list[Showing]:
    """Everything one annotator is shown who votes on all of it."""
    marks: list[Mark] = []
    while len(marks) < most and (showing := next_showing(plan, annotator, marks, {}, 0.0)):
        marks.append(Mark(annotator, showing))
    return [mark.showing for mark in marks]


def test_pairs_come_in_the_order_of_the_plan_and_places_are_filled_once() -> None:
    assert next_showing(ABC, "r", [], {}, 0.0) == Showing("a")
    assert next_showing(ABC, "r", [mark("r", "a")], {}, 0.0) == Showing("b")
    assert next_showing(ABC, "r", [mark("s", "a")], {}, 0.0) == Showing("b")
    assert next_showing(ABC, "r", [mark("s", name) for name in "abc"], {}, 0.0) is None


def test_a_pair_goes_to_as_many_annotators_as_are_asked_for() -> None:
    plan = Plan(("a", "b"), seed=1, per_pair=2, repeat=0.0)
    marks = [mark("r", "a"), mark("r", "b")]
    assert next_showing(plan, "r", marks, {}, 0.0) is None
    assert next_showing(plan, "s", marks, {}, 0.0) == Showing("a")
    marks += [mark("s", "a")]
    assert next_showing(plan, "t", marks, {}, 0.0) == Showing("b")


def test_a_skip_fills_no_place_and_does_not_come_again() -> None:
    marks = [mark("r", "a", skipped=True)]
    assert next_showing(ABC, "r", marks, {}, 0.0) == Showing("b")
    assert next_showing(ABC, "s", marks, {}, 0.0) == Showing("a")


def test_a_lease_holds_the_place_until_it_runs_out() -> None:
    leases = {"r": Lease(Showing("a"), until=LEASE)}
    assert next_showing(ABC, "s", [], leases, LEASE - 1) == Showing("b")
    assert next_showing(ABC, "s", [], leases, LEASE) == Showing("a")
    # One's own pair stays before one, even where another would come first.
    assert next_showing(ABC, "r", [], {"r": Lease(Showing("c"), 1.0)}, 0.0) == Showing("c")


def test_progress_counts_places_once() -> None:
    plan = Plan(("a", "b", "c"), seed=1, per_pair=2, repeat=1.0)
    marks = [
        mark("r", "a"),
        mark("r", "a", repeat=True),
        mark("s", "a"),
        mark("t", "b"),
        mark("r", "c", True),
    ]
    leases = {"s": Lease(Showing("b"), 9.0)}
    assert assignment.progress(plan, "r", Marks(marks), leases, 0.0) == Progress(
        own=2, left=1, waiting=1, skipped=1, all=3, places=6
    )
    assert assignment.progress(plan, "s", Marks(marks), leases, 0.0) == Progress(
        own=1, left=2, waiting=0, skipped=0, all=3, places=6
    )


def test_the_drawn_share_comes_back_late_enough_and_once() -> None:
    plan = Plan(tuple(f"i{number}" for number in range(200)), seed=5, repeat=0.2)
    shown = work(plan, "rosa")
    again = [showing.item for showing in shown if showing.repeat]
    assert len(set(again)) == len(again)
    for item in again:
        assert comes_back(plan, "rosa", item)
        assert shown.index(Showing(item, True)) - shown.index(Showing(item)) > GAP
    drawn = [item for item in plan.items if comes_back(plan, "rosa", item)]
    late = {showing.item for showing in shown[-GAP:]}  # these could not come back late enough
    assert set(drawn) - late <= set(again) <= set(drawn)
    assert 20 <= len(drawn) <= 60  # 200 draws at 0.2: 40 ± 3.5 standard deviations
    assert not [showing for showing in work(Plan(plan.items, 5, repeat=0.0), "rosa") if showing.repeat]


def test_a_skipped_pair_does_not_come_back_as_a_repeat() -> None:
    plan = Plan(("a", *map(str, range(20))), seed=1, repeat=1.0)
    marks = [mark("r", "a", skipped=True), *(mark("r", str(number)) for number in range(GAP))]
    assert next_showing(plan, "r", marks, {}, 0.0) == Showing("10")
    assert next_showing(plan, "r", [*marks, mark("r", "10")], {}, 0.0) == Showing("0", repeat=True)


def test_the_order_of_showing_is_a_fair_coin_kept_per_annotator_and_turned_for_the_repeat() -> None:
    items = [Showing(f"i{number}") for number in range(1000)]
    orders = {name: [shown_first(1, name, item) for item in items] for name in ("r", "s")}
    assert orders["r"] == [shown_first(1, "r", item) for item in items]
    for name in orders:
        assert abs(Counter(orders[name])["a"] - 500) < 64  # four standard deviations
    assert abs(sum(x == y for x, y in zip(orders["r"], orders["s"], strict=True)) - 500) < 64
    for item in items[:20]:
        assert shown_first(1, "r", item) != shown_first(1, "r", Showing(item.item, repeat=True))


def test_a_ticket_names_one_showing() -> None:
    showings = [Showing(item, repeat) for item in "ab" for repeat in (False, True)]
    tickets = {ticket(1, name, showing) for name in "rs" for showing in showings}
    assert len(tickets) == 8


def test_a_shuffle_depends_on_names_and_seed_alone() -> None:
    names = [f"i{number}" for number in range(30)]
    assert shuffled(names, 1) == shuffled(names[::-1], 1) != shuffled(names, 2)
    assert sorted(shuffled(names, 1)) == sorted(names)


@given(st.integers(1, 3), st.integers(1, 12), st.lists(st.integers(0, 3), max_size=80), st.integers(0, 9))
def test_however_people_take_turns_every_place_is_filled_once(
    per_pair: int, count: int, turns: list[int], seed: int
) -> None:
    """Four people who look and vote in any order, then each to the end."""
    plan = Plan(tuple(f"i{number}" for number in range(count)), seed, per_pair, repeat=0.3)
    marks: list[Mark] = []
    leases: dict[str, Lease] = {}
    for turn in [*turns, *(person for person in range(4) for _ in range(3 * count))]:
        name = f"p{turn}"
        if name in leases:
            marks.append(Mark(name, leases.pop(name).showing))
        elif (showing := next_showing(plan, name, marks, leases, 0.0)) is not None:
            leases[name] = Lease(showing, 1.0)
    first = [(mark.annotator, mark.showing.item) for mark in marks if not mark.showing.repeat]
    assert len(set(first)) == len(first)
    assert Counter(item for _, item in first) == dict.fromkeys(plan.items, per_pair)
