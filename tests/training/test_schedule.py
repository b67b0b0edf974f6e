"""Every row once per epoch, the same for the same seed, cut where padding costs least."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.config.train_config import OptimizerConfig
from cai.training.updates.schedule import Schedule, cuts, learning_rate_factor

LENGTHS = [5, 90, 14, 33, 61, 7, 40, 40, 12, 88, 19]


def config(**settings: object) -> OptimizerConfig:
    return OptimizerConfig.model_validate({"batch_size": 4, "micro_batch_size": 2, **settings})


@pytest.mark.parametrize("grouped", [True, False])
def test_an_epoch_holds_every_row_once(grouped: bool) -> None:
    schedule = Schedule(LENGTHS, config(epochs=2, group_by_length=grouped), seed=1, overhead=10)
    assert schedule.updates_per_epoch == 3 and schedule.total == 6
    epochs = [[schedule.update(i) for i in (0, 1, 2)], [schedule.update(i) for i in (3, 4, 5)]]
    for epoch in epochs:
        assert sorted(row for update in epoch for micro in update for row in micro) == list(range(11))
        assert all(len(micro) <= 2 for update in epoch for micro in update)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("grouped", [True, False])
def test_rows_beyond_a_border_are_in_no_micro_batch_with_others(grouped: bool) -> None:
    settings = config(batch_size=11, micro_batch_size=4, group_by_length=grouped)
    plain, parted = (
        Schedule(LENGTHS, settings, seed=1, overhead=500, border=border) for border in (None, 19)
    )

    def kinds(schedule: Schedule) -> list[set[bool]]:
        return [{LENGTHS[row] > 19 for row in micro} for micro in schedule.update(0)]

    assert any(len(kind) == 2 for kind in kinds(plain))
    assert all(len(kind) == 1 for kind in kinds(parted))
    assert sorted(itertools.chain(*parted.update(0))) == list(range(11))


def test_grouping_changes_neither_the_rows_of_an_update_nor_the_seed_dependence() -> None:
    grouped = Schedule(LENGTHS, config(), seed=1)
    plain = Schedule(LENGTHS, config(group_by_length=False), seed=1)
    other = Schedule(LENGTHS, config(group_by_length=False), seed=2)

    def rows(schedule: Schedule, step: int) -> set[int]:
        return {row for micro in schedule.update(step) for row in micro}

    assert [rows(grouped, i) for i in range(3)] == [rows(plain, i) for i in range(3)]
    assert [rows(plain, i) for i in range(3)] != [rows(other, i) for i in range(3)]


@pytest.mark.parametrize(
    ("settings", "total"),
    [({}, 3), ({"epochs": 0.5}, 2), ({"epochs": 1.5}, 5), ({"epochs": 0.001}, 1), ({"max_steps": 2}, 2)],
)
def test_number_of_updates(settings: dict[str, object], total: int) -> None:
    assert Schedule(LENGTHS, config(**settings), seed=0).total == total


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.integers(1, 4),
    st.sampled_from([0.0, 7.0, 500.0]),
)
def test_cuts_cost_least_of_all_ways(lengths: list[int], size: int, overhead: float) -> None:
    lengths.sort(reverse=True)

    def cost(runs: list[tuple[int, int]]) -> float:
        return sum((end - start) * lengths[start] + overhead for start, end in runs)

    ways = []
    for inner in itertools.product([0, 1], repeat=len(lengths) - 1):
        ends = [i + 1 for i, cut in enumerate(inner) if cut] + [len(lengths)]
        runs = list(itertools.pairwise([0, *ends]))
        if all(end - start <= size for start, end in runs):
            ways.append(cost(runs))
    found = cuts(lengths, size, overhead)
    assert [row for start, end in found for row in range(start, end)] == list(range(len(lengths)))
    assert all(end - start <= size for start, end in found)
    assert cost(found) == pytest.approx(min(ways))


def test_learning_rate() -> None:
    warm = config(warmup_ratio=0.2)
    assert [learning_rate_factor(i, 10, warm) for i in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    linear = config(warmup_ratio=0.0, schedule="linear")
    assert [learning_rate_factor(i, 4, linear) for i in range(4)] == pytest.approx([1, 0.75, 0.5, 0.25])
    cosine = config(warmup_ratio=0.0, schedule="cosine")
    assert [learning_rate_factor(i, 2, cosine) for i in range(2)] == pytest.approx([1, 0.5])
    assert learning_rate_factor(0, 1, config()) > 0  # a training of one update does learn
