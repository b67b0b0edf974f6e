"""The one reader of rows: what ``rows.py`` reads, spreadsheets, dataset folders, configurations of datasets.

    rows = read_rows("votes.csv")
    for number, row in rows: ...
    rows.notes                      # what was found out: encoding, delimiter

``cai import``, prompts, suites' files and the mixture read through it, so that a file is the same everywhere.

Line-based files, parquet and spreadsheets are read a piece at a time. A ``.json`` file is one value and is
held whole.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cai.data import rows
from cai.data.dialect import Manner
from cai.data.rows import Row, Unreadable, plain_name
from cai.values.errors import FileError, Problem, UsageError

MAX_UNPACKED = 1 << 30  # bytes; a spreadsheet of votes is far smaller, a zip bomb larger
_CONFIGURED = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<config>[\w.-]+)(?::(?P<split>[\w.\[\]%:-]+))?")
_FOLDER = re.compile(r"(?P<folder>.+?)(?::(?P<split>[\w-]+))?")


class Rows(Iterator[Row]):
    """Rows, one at a time, and in ``notes`` what was found out about the file once the first was read."""

    def __init__(self, spec: str, said: Manner) -> None:
        self.notes: list[str] = []
        self._rows = _rows(spec, said, self.notes)

    def __next__(self) -> Row:
        return next(self._rows)


def read_rows(spec: str, said: Manner | None = None) -> Rows:
    """The rows of a file ``path[:column]``, a dataset folder ``path[:split]``, ``org/name[@config][:split]``.

    A column that is named holds the prompts. The split is "train" if none is named. Reading the first row
    raises FileError or UsageError, as ``rows.read_rows`` does.
    """
    return Rows(spec, said or Manner())


def folded(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with the names of its columns as ``plain_name`` writes them.

    Two names that differ in nothing else stay as they are.
    """
    plain = [plain_name(str(name)) for name in row]
    if list(row) == plain or len(set(plain)) < len(plain):
        return row
    return dict(zip(plain, row.values(), strict=True))


def _rows(spec: str, said: Manner, notes: list[str]) -> Iterator[Row]:
    if not spec.strip():  # pathlib would take it for the current folder, and all below it
        raise FileError([Problem(spec, "no such file: the name is empty")])
    path, column = rows.file_of(spec)
    match = _FOLDER.fullmatch(str(path))
    if path.suffix.lower() == ".xlsx":
        sheet = _sheet_rows(path, spec)
        yield from sheet if column is None else rows.of_column(sheet, str(path), column)
    elif path.is_dir():
        yield from _folder_rows(path, "train", spec)
    elif match and match["split"] and Path(match["folder"]).is_dir():
        yield from _folder_rows(Path(match["folder"]), match["split"], spec)
    elif not path.exists() and (hub := _CONFIGURED.fullmatch(spec)):
        yield from _hub_rows(hub["name"], hub["config"], hub["split"] or "train")
    else:
        yield from rows.read_rows(spec, said, notes)


def _sheet_rows(path: Path, spec: str) -> Iterator[Row]:
    """The rows of the first sheet under its first line; cells under no name are left out."""
    if not path.exists():
        raise FileError([Problem(spec, "no such file")])
    try:
        from openpyxl import load_workbook  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(f"{spec}: reading spreadsheets needs openpyxl: pip install 'cai[human]'") from None
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MAX_UNPACKED:
                raise FileError([Problem(spec, f"unpacks to more than {MAX_UNPACKED >> 20} MiB")])
        # A text that begins with "=" is a formula to a spreadsheet, and its value an error: take the text.
        book = load_workbook(path, read_only=True, data_only=False)
    except FileError:
        raise
    except Exception as error:  # openpyxl raises whatever its XML and zip readers do
        raise FileError([Problem(spec, f"cannot be read as a spreadsheet: {error}")]) from None
    try:
        yield from _under_header(book.worksheets[0].iter_rows(values_only=True))
    finally:
        book.close()


def _under_header(lines: Iterator[tuple[Any, ...]]) -> Iterator[Row]:
    header = ["" if cell is None else str(cell).strip() for cell in next(lines, ())]
    while header and not header[-1]:
        header.pop()
    for number, cells in enumerate(lines, 1):
        extra = [cell for cell in cells[len(header) :] if cell is not None]
        if extra:
            yield number, Unreadable(f"{len(header) + len(extra)} cells under {len(header)} columns")
        else:
            yield number, {name: cell for name, cell in zip(header, cells, strict=False) if name}


def _folder_rows(folder: Path, split: str, spec: str) -> Iterator[Row]:
    from datasets import DatasetDict, load_dataset, load_from_disk

    try:
        if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
            saved = load_from_disk(str(folder))
            dataset = saved[split] if isinstance(saved, DatasetDict) else saved
        else:
            dataset = load_dataset(str(folder), split=split, streaming=True)
        yield from enumerate(dataset, 1)
    except Exception as error:  # the library raises a dozen kinds; all mean the same to the user
        raise UsageError(
            f"{spec}: not a dataset folder with a split '{split}': {_first_line(error)}"
        ) from None


def _hub_rows(name: str, config: str, split: str) -> Iterator[Row]:
    from datasets import load_dataset

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of each retry
    try:
        yield from enumerate(load_dataset(name, config, split=split, streaming=True), 1)
    except Exception as error:
        which = f"{name} (configuration '{config}', split '{split}')"
        raise UsageError(f"the dataset {which} cannot be loaded: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
