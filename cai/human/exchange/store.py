"""Votes on disk: cai's own rows as .jsonl or .parquet, written a piece at a time.

``importing.read_votes`` reads them, as does ``read_table("human", tables.preference_from)`` in a run folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from cai.data import tables
from cai.run.folder import atomic_write
from cai.values.errors import CaiError
from cai.values.types import Failure, Preference

SUFFIXES = (".jsonl", ".parquet")
_BATCH = 1024


def write(path: Path, votes: Iterable[Preference]) -> None:
    """Write ``votes`` to ``path``; what was there stays until the last one is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fill = _fill_parquet if path.suffix == ".parquet" else _fill_jsonl
    atomic_write(path, lambda target: fill(target, map(tables.preference_row, votes)), private=True)


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write failures beside a file of votes; no file is left where there are none."""
    beside = failures_of(path)
    if failures:
        lines = [json.dumps(asdict(failure)) + "\n" for failure in failures]
        atomic_write(beside, lambda target: target.write_text("".join(lines), encoding="utf-8"), private=True)
    else:
        beside.unlink(missing_ok=True)


def read_failures(path: Path) -> list[Failure]:
    """The failures beside a file of votes. Raises CaiError where they cannot be read."""
    beside = failures_of(path)
    if not beside.exists():
        return []
    try:
        return [Failure(**json.loads(line)) for line in beside.read_text(encoding="utf-8").splitlines()]
    except (TypeError, ValueError) as error:
        raise CaiError(f"{beside}: cannot be read ({error}); delete it and import again") from None


def failures_of(path: Path) -> Path:
    """``votes.jsonl`` → ``votes.rejected.jsonl``."""
    return path.with_name(f"{path.stem}.rejected.jsonl")


def _fill_jsonl(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _fill_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        while batch := list(islice(rows, _BATCH)):
            file.write_table(pa.Table.from_pylist(batch, schema=schema))


def _schema() -> Any:
    """Columns of ``tables.preference_row``; named here because a batch may hold nothing but nulls in one."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    turns = pa.list_(pa.struct([("role", text), ("content", text)]))
    judgement = pa.struct([("principle_id", text), ("p_a_first", number), ("p_b_first", number)])
    return pa.schema(
        [
            ("id", text),
            ("prompt_id", text),
            ("prompt", turns),
            ("tags", pa.list_(text)),
            ("a", text),
            ("b", text),
            ("chosen", turns),
            ("rejected", turns),
            ("p_chosen", number),
            ("p", number),
            ("source", pa.struct([("kind", text), ("name", text)])),
            ("judgements", pa.list_(judgement)),
            ("unscored", text),
            ("raw", text),
            ("weight", number),
        ]
    )
