"""The items of a suite's own data: rows of a file or dataset, each taken or quarantined with its reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from cai.data.reading import folded, read_rows
from cai.evaluation.bench import Bench
from cai.values.errors import ItemError, UsageError
from cai.values.types import Failure

T = TypeVar("T")
Numbered = Iterable[
    tuple[int, Any]
]  # rows as ``cai.data.reading`` gives them: what is no mapping is unreadable


def read_items(
    bench: Bench,
    what: str,
    build: Callable[[int, Mapping[str, Any]], T],
    rows: Numbered | None = None,
) -> tuple[list[T], list[Failure]]:
    """``read_all``, cut to ``evaluate.items`` by ``drawn``."""
    items, failures = read_all(bench, what, build, rows)
    return drawn(bench, items), failures


def read_all(
    bench: Bench,
    what: str,
    build: Callable[[int, Mapping[str, Any]], T],
    rows: Numbered | None = None,
) -> tuple[list[T], list[Failure]]:
    """``build(number, row)`` of every row of ``bench.data``, in their order; rows count from 1.

    Columns are there under their names and in small letters (``reading.folded``). ``rows`` are taken instead
    where the suite has got them out of its file itself. A row for which ``build`` raises ``ItemError`` is a
    failure; unknown columns are its business.

    Raises:
        UsageError: no data were given, they cannot be read, or not one row could be used.
    """
    spec = bench.need_data(what)
    items: list[T] = []
    failures: list[Failure] = []
    for number, row in read_rows(spec) if rows is None else rows:
        try:
            if not isinstance(row, Mapping):
                raise ItemError("unreadable row", getattr(row, "reason", "not a JSON object"))
            items.append(build(number, {**folded(row), **row}))
        except ItemError as error:
            failures.append(Failure("items", f"row {number}", error.reason, error.detail))
    if not items:
        reasons = "; ".join(f"{f.item}: {f.reason} {f.detail}".strip() for f in failures[:3]) or "it is empty"
        raise UsageError(f"{spec}: no usable item in it ({reasons}); needed is {what}")
    return items, failures


def drawn(bench: Bench, items: Sequence[T]) -> list[T]:
    """At most ``evaluate.items`` of them, drawn by the run's seed, in their order."""
    most = bench.config.items
    if most is None or len(items) <= most:
        return list(items)
    chosen = sorted(random.Random(bench.seed_of("items")).sample(range(len(items)), most))
    return [items[i] for i in chosen]
