"""The answers in a damaged journal, found by their own shape: no page header, index or schema is needed.

Python's ``sqlite3`` has no recovery (``.recover`` is the shell's), and reading a damaged tree loses whatever
lies below the first bad page. A row of ``answers`` is easy to tell: its key is 64 hexadecimal digits, so that
its record begins with the same bytes everywhere. Each page is searched for them, long rows are followed
through their overflow pages, and what is not a whole answer is left out. The format:
https://sqlite.org/fileformat2.html (sections 1.5, 1.6, 2.1 and 4.1).
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any

_KEY = b"\x81\x0d"  # the serial type 141 of a text of 64 bytes, a key's length
_HEX = re.compile("[0-9a-f]{64}")
_VERBS = ("complete", "choose")
_PAGE = 4096  # bytes, where the file does not say
_COLUMNS = (6, 7, 8)  # key, engine, verb, request, answer, created; then stage; then seal
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}  # serial type → bytes
_FLOAT = 7
_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes

Lookup = Callable[[int], bytes]  # a page's number, from 1 → its content; b"" where there is no such page


@dataclass(frozen=True, slots=True)
class Row:
    """An answer as the journal's table holds it; ``stage`` and ``seal`` are empty in older journals."""

    key: str
    engine: str
    verb: str
    request: str
    answer: str
    created: float
    stage: str = ""
    seal: str = ""


def seal(key: str, answer: str) -> str:
    """A short hash that says whether ``answer`` is what was written under ``key``."""
    return hashlib.sha256(f"{key}\0{answer}".encode()).hexdigest()[:16]


def rows(path: Path, *, only_logged: bool = False) -> Iterator[Row]:
    """The answers in a database file and in the write-ahead log beside it, as often as they are found.

    ``only_logged``: those in the log alone, behind a torn frame too, where SQLite stops reading.
    """
    log, size = _logged(Path(f"{path}-wal"))
    newest = dict(log)
    with path.open("rb") if path.is_file() else BytesIO() as file:
        size = size or _page_size(file.read(18))
        pages = file.seek(0, SEEK_END) // size + 1 if not only_logged else 0

        def own(number: int) -> bytes:
            file.seek(max(0, number - 1) * size)
            return file.read(size) if number > 0 else b""

        # An overflow page may have been written to the log and not yet to the file, or the other way round.
        lookups = (lambda number: newest.get(number) or own(number), own)
        for content in (*(content for _, content in log), *map(own, range(1, pages + 1))):
            for match in re.finditer(_KEY, content):
                tried = (_row(content, match.start() - 1, lookup) for lookup in lookups)
                if (row := next(filter(None, tried), None)) is not None:
                    yield row


def _page_size(header: bytes) -> int:
    found = int.from_bytes(header[16:18])
    return 65536 if found == 1 else found if found in {1 << n for n in range(9, 16)} else _PAGE


def _logged(path: Path) -> tuple[list[tuple[int, bytes]], int]:
    """The pages of a write-ahead log with their numbers, the oldest first, and their size; 0 without one."""
    data = path.read_bytes() if path.is_file() else b""
    if len(data) <= _LOG_HEADER:
        return [], 0
    size = int.from_bytes(data[8:12])
    size = size if size in {1 << n for n in range(9, 17)} else _PAGE
    starts = range(_LOG_HEADER, len(data), _FRAME_HEADER + size)
    pages = [(int.from_bytes(data[at : at + 4]), data[at + _FRAME_HEADER :][:size]) for at in starts]
    return pages, size


def _row(page: bytes, at: int, lookup: Lookup) -> Row | None:
    """The answer whose record begins at ``at``; None where none does, or not a whole one."""
    try:
        types = _types(page, at)
        lengths = [_INTEGERS.get(kind, 8 if kind == _FLOAT else (kind - 12) // 2) for kind in types]
        size = page[at] + sum(lengths)
        content = _payload(page, at, size, lookup)[page[at] :]
        cells = [_cell(kind, content[sum(lengths[:n]) :][: lengths[n]]) for n, kind in enumerate(types)]
        row = Row(*cells)
        whole = len(content) == sum(lengths) and _is_answer(row)
    except (IndexError, ValueError, TypeError, struct.error, RecursionError):
        return None
    return row if whole else None


def _types(page: bytes, at: int) -> list[int]:
    """The serial types of the record's columns, from its header; ValueError where it is no row's."""
    types, place, end = [], at + 1, at + page[at]
    while place < end:
        kind, place = _varint(page, place)
        types.append(kind)
    if place != end or len(types) not in _COLUMNS:
        raise ValueError("no row's header")
    return types


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(at, at + 9):
        value = value << 7 | page[place] & 0x7F
        if not page[place] & 0x80:
            return value, place + 1
    raise ValueError("longer than any of ours")


def _payload(page: bytes, at: int, size: int, lookup: Lookup) -> bytes:
    """``size`` bytes from ``at``, the rest of a long record from its overflow pages."""
    usable = len(page)
    most, least = (usable - 12) * 64 // 255 - 23, (usable - 12) * 32 // 255 - 23
    if size <= most:
        return page[at : at + size]
    local = least + (size - least) % (usable - 4)
    local = local if local <= most else least
    found, place = bytearray(page[at : at + local]), page[at + local : at + local + 4]
    seen: set[bytes] = set()
    while len(found) < size:
        overflow = lookup(int.from_bytes(place))
        if len(overflow) <= 4 or place in seen:
            raise ValueError("an overflow page is missing")
        seen.add(place)
        place = overflow[:4]
        found += overflow[4 : 4 + size - len(found)]
    return bytes(found)


def _cell(kind: int, content: bytes) -> Any:
    if kind == _FLOAT:
        return struct.unpack(">d", content)[0]
    if kind in _INTEGERS:
        return float(int.from_bytes(content, signed=True) if content else kind - 8)
    if kind < 13 or kind % 2 == 0:
        raise ValueError("neither a text nor a number")
    return content.decode()


def _is_answer(row: Row) -> bool:
    texts = (row.key, row.engine, row.verb, row.request, row.answer, row.stage, row.seal)
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(row.created, float)
        and _HEX.fullmatch(row.key) is not None
        and row.verb in _VERBS
        and (not row.seal or row.seal == seal(row.key, row.answer))
        and all(isinstance(json.loads(text), dict) for text in (row.request, row.answer))
    )
