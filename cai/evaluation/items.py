"""The items of a suite's own data: rows of a file or dataset, each taken or quarantined with its reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cai.errors import ItemError, UsageError
from cai.evaluation.bench import Bench
from cai.reading import read_rows
from cai.rows import Unreadable
from cai.types import Failure

T = TypeVar("T")


def read_items(
    bench: Bench, what: str, build: Callable[[int, Mapping[str, Any]], T]
) -> tuple[list[T], list[Failure]]:
    """``build(number, row)`` of every row of ``bench.data``, in their order; rows count from 1.

    Where there are more than ``evaluate.items``, those are drawn by the run's seed. A row for which ``build``
    raises ``ItemError`` is a failure; unknown columns are its business.

    Raises:
        UsageError: no data were given, they cannot be read, or not one row could be used.
    """
    spec = bench.need_data(what)
    items: list[T] = []
    failures: list[Failure] = []
    for number, row in read_rows(spec):
        try:
            if isinstance(row, Unreadable):
                raise ItemError("unreadable row", row.reason)
            items.append(build(number, row))
        except ItemError as error:
            failures.append(Failure("items", f"row {number}", error.reason, error.detail))
    if not items:
        reasons = "; ".join(f"{f.item}: {f.reason} {f.detail}".strip() for f in failures[:3]) or "it is empty"
        raise UsageError(f"{spec}: no usable item in it ({reasons}); needed is {what}")
    most = bench.config.items
    if most is not None and len(items) > most:
        chosen = sorted(random.Random(bench.seed_of("items")).sample(range(len(items)), most))
        items = [items[i] for i in chosen]
    return items, failures
