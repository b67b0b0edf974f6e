"""cai's own rows: data/human.parquet, data/preferences.parquet and the .jsonl that ``cai import`` writes.

``tables.preference_row`` and ``preference_from`` are exact inverses, so nothing is lost in either direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cai.data import tables
from cai.data.chosen import value
from cai.data.turns import conversation
from cai.human.exchange.fields import Row, has, items, optional, probability, table, text, texts, weight
from cai.human.exchange.format import Format, one
from cai.human.exchange.formats.trl import interval, judgement, source
from cai.human.pairs import Options
from cai.values.errors import ItemError
from cai.values.types import Comparison, Preference, Prompt


def read(row: Row, options: Options) -> Iterator[Preference]:
    prompt = Prompt(
        text(row, "prompt_id"), conversation(value(row, "prompt"), "'prompt'"), texts(row, "tags")
    )
    p, unscored = None, optional(row, "unscored")
    if row.get("p") is not None:
        p = probability(row, "p")
    elif unscored is None:
        raise ItemError("no label", "'p' is empty, and 'unscored' does not say why")
    yield Preference(
        Comparison(text(row, "id"), prompt, text(row, "a"), text(row, "b")),
        p,
        source(table(row, "source")),
        tuple(judgement(found) for found in items(row, "judgements")),
        unscored,
        optional(row, "raw"),
        weight(row),
        interval(row),
    )


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    return tables.preference_row(one(votes))


FORMAT = Format(
    "cai",
    "id, prompt_id, prompt, a, b, p, source and judgements",
    lambda row: has(row, "id", "prompt_id", "prompt", "a", "b", "p", "source", "judgements"),
    read,
    write=write,
)
