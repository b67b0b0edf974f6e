"""``cai export``: preferences as rows of other tools' formats, one file or a dataset folder with a card.

    report = export_votes(votes, Path("out.jsonl"), "trl")
    report = export_votes(votes, Path("dataset"), "trl", constitution=text)      # dataset/README.md and data/

What a format cannot hold is left out and counted, never bent to fit; what it loses of a row that it can hold
is said in the format's docstring and on the card. Formats without ids of votes hold a vote that an annotator
gave twice, but an import of them takes the second for a repeated row.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from cai.human.exchange.card import Contents, card
from cai.human.exchange.cells import harmless
from cai.human.exchange.format import Format, first_name
from cai.human.exchange.formats import FORMATS, named
from cai.run.folder import atomic_write
from cai.values.errors import ItemError, UsageError
from cai.values.types import Failure, Preference

STAGE = "export"
WRITABLE = tuple(name for name, format in FORMATS.items() if format.write is not None)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """``rows`` were written of ``votes`` votes; the votes in ``left_out`` were not."""

    format: str
    rows: int
    votes: int
    left_out: tuple[Failure, ...]
    file: Path

    @property
    def by_reason(self) -> Mapping[str, int]:
        return dict(Counter(failure.reason for failure in self.left_out).most_common())


def describe(report: ExportReport) -> list[str]:
    """Lines for a person: what was written where, and what was left out."""
    written = report.votes - len(report.left_out)
    lines = [f"{report.file}: {report.rows:,} rows of {report.format}, {written:,} of {report.votes:,} votes"]
    lines += [f"  {count:,} left out: {reason}" for reason, count in report.by_reason.items()]
    if loses := named(report.format).loses:
        lines.append(f"  not kept by the format: {loses}")
    return lines


def constitution_of(source: Path) -> str | None:
    """The constitution of a run folder, for the card; None for a file of votes."""
    file = source / "constitution.yaml"
    return file.read_text(encoding="utf-8") if file.is_file() else None


@dataclass(slots=True)
class _Progress:
    contents: Contents
    rows: int = 0
    left_out: list[Failure] = field(default_factory=list)


def export_votes(
    votes: Iterable[Preference], target: Path, name: str, constitution: str | None = None
) -> ExportReport:
    """Write ``votes`` in the format ``name`` to a file, or to a folder when ``target`` has no known ending.

    A folder gets ``README.md`` (a dataset card, with the text of ``constitution``) and ``data/train.…``.

    Raises:
        UsageError: the format is unknown or only read, does not come in such a file, or can hold none
            of the votes.
    """
    format = named(name)
    if format.write is None:
        raise UsageError(f"{name} is only read, not written; written are {', '.join(WRITABLE)}")
    suffix = _suffix(target)
    if suffix is not None and suffix not in format.files:
        raise UsageError(f"{target}: {name} is written as {' or '.join(format.files)}")
    folder = None if suffix else target
    file = target if folder is None else folder / "data" / f"train{format.files[0]}"
    progress = _Progress(Contents())
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = _required(_rows(votes, format, progress), name, progress)
    atomic_write(file, lambda path: _WRITERS[_suffix(file) or ""](path, rows), private=True)
    if folder is not None:
        text = card(progress.contents, format, file.relative_to(folder), constitution)
        atomic_write(folder / "README.md", lambda path: path.write_text(text, encoding="utf-8"))
    total = progress.contents.votes + len(progress.left_out)
    return ExportReport(name, progress.rows, total, tuple(progress.left_out), file)


def _suffix(path: Path) -> str | None:
    lowered = path.name.lower()
    return next((suffix for suffix in _WRITERS if lowered.endswith(suffix)), None)


def _rows(votes: Iterable[Preference], format: Format, progress: _Progress) -> Iterator[dict[str, Any]]:
    assert format.write is not None
    groups = _grouped(votes, format.write, progress) if format.grouped else ([vote] for vote in votes)
    for group in groups:
        try:
            row = format.write(group)
        except ItemError as error:
            progress.left_out += [_left_out(vote, error) for vote in group]
            continue
        progress.rows += 1
        for vote in group:
            progress.contents.add(vote)
        progress.contents.columns = list(row)
        yield row


def _grouped(
    votes: Iterable[Preference], write: Callable[[Sequence[Preference]], Any], progress: _Progress
) -> Iterator[list[Preference]]:
    """Writable votes on the same pair that was shown in the same order, in the order of the first of each."""
    groups: dict[tuple[str, str], list[Preference]] = {}
    for vote in votes:
        try:
            write([vote])  # a vote that does not fit must not take the others of its pair with it
        except ItemError as error:
            progress.left_out.append(_left_out(vote, error))
            continue
        groups.setdefault((vote.comparison.id, first_name(vote)), []).append(vote)
    yield from groups.values()


def _left_out(vote: Preference, error: ItemError) -> Failure:
    return Failure(STAGE, vote.comparison.id, error.reason, error.detail)


def _required(rows: Iterator[dict[str, Any]], name: str, progress: _Progress) -> Iterator[dict[str, Any]]:
    """``rows``, of which there must be one: an empty export must not replace a file."""
    first = next(rows, None)
    if first is None:
        reasons = Counter(failure.reason for failure in progress.left_out)
        why = (
            ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common()) or "there are no votes"
        )
        raise UsageError(f"nothing to export to {name} ({why})")
    yield from chain([first], rows)


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        _lines(file, rows)


def _write_packed(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    # Neither name nor time in the header, so that equal votes make equal bytes.
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        _lines(file, rows)


def _lines(file: TextIO, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_json(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[")
        for index, row in enumerate(rows):
            file.write((",\n" if index else "\n") + json.dumps(row, ensure_ascii=False, allow_nan=False))
        file.write("\n]\n")


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table: csv.DictWriter[str] | None = None
        for row in rows:
            if table is None:
                table = csv.DictWriter(file, list(row))
                table.writeheader()
            table.writerow({name: harmless(cell) for name, cell in row.items()})


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """All rows at once: the types of the columns are those of all of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows)), path, compression="zstd")


_WRITERS: dict[str, Callable[[Path, Iterable[dict[str, Any]]], None]] = {
    ".jsonl.gz": _write_packed,
    ".jsonl": _write_jsonl,
    ".json": _write_json,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
