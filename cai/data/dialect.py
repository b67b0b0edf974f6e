"""How a text file is written: its encoding and, where it is a table, its delimiter.

Excel saves tables in the machine's own code page, with semicolons where the comma is the decimal sign, or as
UTF-16 with tabs. A byte order mark says which encoding it is; without one, a file that is UTF-8 is UTF-8, one
that is mostly UTF-8 is a damaged one (its bad rows fail one by one), and the others are put to
charset-normalizer. JSON is UTF-8 or UTF-16 by its standard, so that nothing is guessed there.

The delimiter is the one that divides the header: names of columns hold none, texts hold all of them.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cai.values.errors import FileError, Problem, UsageError

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
_UTF8 = "utf-8-sig"  # UTF-8 with or without a mark
_MARKS = (
    (codecs.BOM_UTF8, _UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What tables are saved in today: the code pages of Windows and their East Asian siblings.
_LATIN = ["cp1252", "cp1250", "cp1254"]
_OTHER = ["cp1251", "cp1253", "cp1255", "cp1256", "cp932", "gb18030", "big5", "cp949"]
_CHUNK = 1 << 20
_SAMPLE = 1 << 16  # bytes of lines with more than ASCII that the encoding is told from
_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_RUN = re.compile(rb"[\x80-\xff]{3,}")
_HIGH = re.compile(rb"[\x80-\xff]")
_SEPARATOR = re.compile(r'"?sep=(?P<delimiter>.)"?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Manner:
    """What the user says about how a file is written; None is found out."""

    encoding: str | None = None
    delimiter: str | None = None


def manner(encoding: str | None, delimiter: str | None) -> Manner:
    """Of the words of a command line. Raises UsageError for an encoding or delimiter that there is not."""
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise UsageError(f"--encoding {encoding}: no such encoding; cp1252, utf-16 and others") from None
    if delimiter is not None:
        delimiter = DELIMITERS.get(delimiter.casefold(), "\t" if delimiter == "\\t" else delimiter)
        if len(delimiter) != 1:
            raise UsageError(f"--delimiter {delimiter}: one character, or {', '.join(DELIMITERS)}")
    return Manner(encoding, delimiter)


def open_text(path: Path, said: Manner, guess: bool, notes: list[str]) -> TextIO:
    """The file as text, unpacked where it ends with .gz.

    ``guess``: it may be in a code page. What was found is told to ``notes``. Bytes that do not fit come
    through as lone surrogates, so that they spoil one row, not the file.

    Raises:
        FileError: no encoding fits.
        OSError: the file cannot be read.
    """
    encoding = said.encoding or _found(path, guess, notes)
    return io.TextIOWrapper(_raw(path), encoding=encoding, errors="surrogateescape", newline="")


def _raw(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _found(path: Path, guess: bool, notes: list[str]) -> str:
    with _raw(path) as file:
        head = file.read(256)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            if encoding != _UTF8:
                notes.append(f"read as {encoding.upper()}")
            return encoding
    if (wide := _without_mark(head)) is not None:
        notes.append(f"read as {wide.upper()}")
        return wide
    if guess and (sample := _not_utf8(path)) is not None:
        return _page(path, sample, notes)
    return _UTF8


def _without_mark(head: bytes) -> str | None:
    """UTF-16 that is mostly ASCII: every other byte is 0."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if min(even, odd) == 0 and max(even, odd) > 0.4 * len(head):
        return "utf-16-le" if odd else "utf-16-be"
    return None


def _not_utf8(path: Path) -> bytes | None:
    """Lines with more than ASCII of a file that is in another encoding; None for UTF-8, damaged or not."""
    sample, fitting, high, valid = b"", 0, 0, True
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _raw(path) as file:
        while chunk := file.read(_CHUNK):
            if valid:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    valid = False
            if chunk.isascii():
                continue
            fitting += sum(len(found) for found in _SEQUENCE.findall(chunk))
            high += len(_HIGH.findall(chunk))
            for line in chunk.splitlines(keepends=True):
                if len(sample) < _SAMPLE and not line.isascii():
                    sample += line[:_SAMPLE]
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        valid = False
    return None if valid or 2 * fitting > high else sample


def _page(path: Path, sample: bytes, notes: list[str]) -> str:
    from charset_normalizer import from_bytes

    # Accents stand alone among plain letters, other scripts in runs: too little text tells no more than that.
    runs = sum(map(len, _RUN.findall(sample)))
    likely = (_OTHER, _LATIN) if 2 * runs > len(_HIGH.findall(sample)) else (_LATIN, _OTHER)
    found = next((list(f) for pages in likely if (f := from_bytes(sample, cp_isolation=pages))), [])
    if not found:
        raise FileError(
            [Problem(str(path), "not UTF-8, nor in an encoding that can be told; save it as UTF-8")]
        )
    best, western = found[0], next((match for match in found if match.encoding == "cp1252"), None)
    name, rival = best.encoding, ""
    # The page of Western Europe stands for its eastern sister where they agree, or nearly fit as well.
    if "cp1252" in best.could_be_from_charset:
        name = "cp1252"
    elif (
        western is not None
        and name == "cp1250"
        and western.chaos <= best.chaos + 0.01
        and western.coherence >= best.coherence - 0.06
    ):
        name, rival = "cp1252", " (cp1250, which has other accents, fits nearly as well)"
    notes.append(f"not UTF-8: read as {name}{rival}")
    return name


def delimiter_of(lines: Iterator[str], usual: str, said: Manner, notes: list[str]) -> tuple[str, list[str]]:
    """The delimiter of a table, and the lines that were read to find it, less a line ``sep=;``."""
    read: list[str] = []
    while not "".join(read).strip() and (line := next(lines, None)) is not None:
        read.append(line)
    header = read[-1] if read else ""
    declared = _SEPARATOR.fullmatch(header)
    if declared:
        read = []
    if said.delimiter is not None:
        return said.delimiter, read
    delimiter = declared["delimiter"] if declared else _dividing(header, usual)
    if delimiter != usual:
        names = {sign: name for name, sign in DELIMITERS.items()}
        notes.append(f"the columns are divided by {names.get(delimiter, repr(delimiter))}")
    return delimiter, read


def _dividing(header: str, usual: str) -> str:
    counts = {sign: len(next(csv.reader([header], delimiter=sign), [])) for sign in DELIMITERS.values()}
    most = max(counts.values())
    if most == 1 or counts[usual] == most:
        return usual
    try:
        return csv.Sniffer().sniff(header, "".join(s for s, n in counts.items() if n == most)).delimiter
    except csv.Error:
        return max(counts, key=lambda sign: counts[sign])
