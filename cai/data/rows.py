"""Rows of jsonl, json, csv, tsv, txt and parquet files and of hub datasets, one at a time.

A row that cannot be read is an ``Unreadable`` in its place and the reading goes on; only a file that
cannot be opened at all is an error. What a row means is ``asked.py``'s and ``chosen.py``'s business.
``reading.py`` is the door: it knows spreadsheets and folders too.
"""

from __future__ import annotations

import csv
import json
import logging
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from cai.data.dialect import Manner, delimiter_of, open_text
from cai.values.errors import FileError, Problem, UsageError
from cai.values.words import did_you_mean, excerpt

MAX_LINE = 8 << 20  # characters of one line; nothing that long is a prompt
FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet")
_DATASET = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.\[\]%:-]*?))?(?::(?P<column>\w+))?")

_COLUMN = re.compile(r"(?P<path>.+):(?P<column>[^:/\\]+)")
_TEXTS = (".csv", ".tsv", ".txt")  # kinds of files that need not be UTF-8
_HOLDERS = ("data", "rows", "train", "examples", "records", "items")  # of the list of a .json file
_OWN_FORM = ("chosen", "turns")  # columns that do not hold a prompt as it is


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is no row, and why."""

    reason: str


# A row's number, counted from 1 as an editor or a table would, and its values by column.
Row = tuple[int, Mapping[str, Any] | Unreadable]


def read_rows(spec: str, said: Manner, notes: list[str]) -> Iterator[Row]:
    """The rows of a file ``path[:column]``, or of a dataset ``org/name[:split][:column]``.

    A column that is named holds the prompts, whatever it is called. What was found out about the file (its
    encoding, its delimiter) is told to ``notes``.

    Raises:
        FileError: the file is missing, of an unknown kind or cannot be read, or two columns have one name;
            no row has the column that is named.
        UsageError: the dataset cannot be had.
    """
    path, column = file_of(spec)
    if path.exists():
        found = _file_rows(path, spec if column is None else str(path), said, notes)
        yield from found if column is None else of_column(found, str(path), column)
    elif (name := _DATASET.fullmatch(spec)) and _suffix(path) not in FORMATS:
        yield from _dataset_rows(name["name"], name["split"] or "train", name["column"])
    else:
        raise FileError([Problem(spec, f"no such file{_neighbour(path)}")])


def file_of(spec: str) -> tuple[Path, str | None]:
    """The file that ``path[:column]`` names, and the column. A file whose own name has the colon is that."""
    path, named = Path(spec).expanduser(), _COLUMN.fullmatch(spec)
    if named is None or path.exists() or not (before := Path(named["path"]).expanduser()).is_file():
        return path, None
    return before, named["column"]


def of_column(rows: Iterator[Row], spec: str, column: str) -> Iterator[Row]:
    """The rows with the cells of ``column`` as their prompts; a row without it is unreadable."""
    found, columns = False, ""
    for number, row in rows:
        if isinstance(row, Unreadable):
            yield number, row
            continue
        columns = columns or ", ".join(map(str, row))
        name = next((name for name in row if plain_name(str(name)) == plain_name(column)), None)
        if name is None:
            yield number, Unreadable(f"no column '{column}'")
            continue
        found = True
        if row[name] in (None, ""):
            yield number, Unreadable(f"column '{column}' is empty")
            continue
        others = {other: cell for other, cell in row.items() if plain_name(str(other)) != "prompt"}
        yield number, {name: row[name]} if name in _OWN_FORM else {**others, "prompt": row[name]}
    if not found and columns:
        raise FileError([Problem(spec, f"no column '{column}' among {excerpt(columns, 80)}")])


def plain_name(column: str) -> str:
    """A column's name in small letters, without spaces around it and with ``_`` for those in it."""
    return "_".join(column.split()).casefold()


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _neighbour(path: Path) -> str:
    try:
        return did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return ""


def _file_rows(path: Path, spec: str, said: Manner, notes: list[str]) -> Iterator[Row]:
    suffix = _suffix(path)
    if path.is_dir():
        raise FileError([Problem(spec, "this is a folder; name a file in it")])
    if suffix == ".parquet":
        yield from _parquet_rows(path, spec)
        return
    if suffix not in FORMATS:
        raise FileError([Problem(spec, f"unknown kind of file; known are {', '.join(FORMATS)}, also as .gz")])
    try:
        with open_text(path, said, suffix in _TEXTS, notes) as stream:
            if suffix in (".jsonl", ".ndjson"):
                yield from _json_lines(stream)
            elif suffix == ".json":
                yield from _json_array(stream, spec)
            elif suffix == ".txt":
                yield from _text_lines(stream)
            else:
                yield from _table(stream, spec, "\t" if suffix == ".tsv" else ",", said, notes)
    except (OSError, EOFError, UnicodeError, zlib.error) as error:
        raise FileError([Problem(spec, f"cannot be read: {error}")]) from None


def _lines(stream: TextIO) -> Iterator[tuple[int, str | Unreadable]]:
    """Numbered lines without their ends; empty lines are skipped."""
    number = 0
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith("\n"):
            while (rest := stream.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            yield number, Unreadable(f"line longer than {MAX_LINE:,} characters")
        elif line.strip():
            yield number, line.rstrip("\r\n")


def _json_lines(stream: TextIO) -> Iterator[Row]:
    for number, line in _lines(stream):
        yield number, line if isinstance(line, Unreadable) else _json_row(line)


def _json_row(line: str) -> Mapping[str, Any] | Unreadable:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"not JSON: {error}")
    return row if isinstance(row, dict) else Unreadable("not a JSON object")


def _json_array(stream: TextIO, spec: str) -> Iterator[Row]:
    try:
        rows = json.load(stream)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            raise FileError([Problem(spec, "one object a line: name the file .jsonl")]) from None
        raise FileError([Problem(spec, f"not JSON: {error.msg}", error.lineno, error.colno)]) from None
    except RecursionError:
        raise FileError([Problem(spec, "not JSON that can be read: nested too deeply")]) from None
    if isinstance(rows, dict):
        lists = [rows[name] for name in _HOLDERS if isinstance(rows.get(name), list)]
        rows = lists[0] if len(lists) == 1 else rows
    if not isinstance(rows, list):
        raise FileError([Problem(spec, "a .json file must hold a list of objects")])
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, dict) else Unreadable("not a JSON object")


def _text_lines(stream: TextIO) -> Iterator[Row]:
    for number, line in _lines(stream):
        yield number, line if isinstance(line, Unreadable) else {"prompt": line}


def _table(stream: TextIO, spec: str, usual: str, said: Manner, notes: list[str]) -> Iterator[Row]:
    csv.field_size_limit(MAX_LINE)  # the limit is global to the process; cai reads tables only here
    lines = iter(stream)
    delimiter, read = delimiter_of(lines, usual, said, notes)
    reader = csv.reader(chain(read, lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield number, Unreadable(f"not a table row: {error}")
            continue
        if not cells:
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if twice := [name for name, count in Counter(header).items() if name and count > 1]:
                raise FileError([Problem(spec, f"the column '{twice[0]}' is there twice; rename one")])
            continue
        number += 1
        if len(cells) > len(header):
            yield number, Unreadable(f"{len(cells)} cells under {len(header)} columns")
        else:
            cells += [""] * (len(header) - len(cells))  # spreadsheets leave trailing cells out
            yield number, dict(zip(header, cells, strict=True))


def _parquet_rows(path: Path, spec: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with closing(pq.ParquetFile(path)) as table:
            for batch in table.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError([Problem(spec, f"cannot be read as parquet: {error}")]) from None


def _dataset_rows(name: str, split: str, column: str | None) -> Iterator[Row]:
    from datasets import load_dataset

    # The client retries for half a minute and tells of each time; the error at the end says it all.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

    try:
        for number, row in enumerate(load_dataset(name, split=split, streaming=True), 1):
            if column is not None and column not in row:
                columns = ", ".join(row)
                raise UsageError(f"dataset {name}: no column '{column}' among {columns}")
            if column is None:
                yield number, row
            else:  # what the user has named holds the prompt, whatever it is called
                yield number, {column if column in _OWN_FORM else "prompt": row[column]}
    except UsageError:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds; all mean the same to the user
        raise UsageError(
            f"no file '{name}', and the dataset of that name (split '{split}') cannot be loaded: "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from None
