"""The one YAML reader: plain data plus the line and column of every key and value.

A subset of YAML that is safe and says what it means. Refused: anchors, aliases, merge keys and tags
(a few hundred bytes of them can expand to gigabytes), duplicate keys, several documents, more than
``Bounds`` allow, more than 32 levels. Scalars follow YAML 1.2: ``no`` and ``1:30`` are text, ``1e-6`` a
number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from cai.config.validation import KeyPath, explain
from cai.config.yamlsyntax import explain_syntax
from cai.values.errors import FileError, Problem
from cai.values.words import excerpt

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 10_000  # keys, items and values: about 500 full principles, read in well under 100 ms

# The C parser is ten times faster; the Python one gives the same events where it is missing.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a file may hold; the default is for what people write."""

    bytes: int = MAX_BYTES
    nodes: int = MAX_NODES


PEOPLE = Bounds()
COMPLETED = Bounds(16 << 20, 200_000)  # what cai wrote out in full from files within ``PEOPLE``


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """A file's plain data (dict, list, str, int, float, bool, None) and where each part stands.

    ``keys`` and ``values`` map a path such as ``("principles", 0, "weight")`` to a place.
    """

    file: str
    data: Any
    keys: Mapping[KeyPath, Place]
    values: Mapping[KeyPath, Place]

    def problem(self, path: KeyPath, message: str, on_key: bool = False) -> Problem:
        """A problem at ``path``, or at the nearest enclosing value that has a place."""
        if on_key and path in self.keys:
            place = self.keys[path]
        else:
            while path and path not in self.values:
                path = path[:-1]
            place = self.values[path]
        return Problem(self.file, message, place.line, place.column)


def read_yaml(path: Path | str, bounds: Bounds = PEOPLE) -> Document:
    """Read one file. Raises FileError: missing, a folder, too large, not UTF-8, or not our YAML."""
    name = str(path)
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(bounds.bytes + 1)
    except IsADirectoryError:
        raise FileError([Problem(name, "this is a folder, not a YAML file")]) from None
    except FileNotFoundError:
        raise FileError([Problem(name, "no such file")]) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise FileError([Problem(name, f"cannot be read: {reason}")]) from None
    if len(raw) > bounds.bytes:
        raise FileError([Problem(name, f"larger than {bounds.bytes >> 20} MiB, the limit for a YAML file")])
    return parse_yaml(_decode(raw, name), name, bounds)


def parse_yaml(text: str, file: str, bounds: Bounds = PEOPLE) -> Document:
    """Parse ``text``; ``file`` is the name that errors show. Raises FileError with every fault found."""
    builder = _Builder(file, bounds)
    try:
        data = builder.document(iter(yaml.parse(text, Loader=_LOADER)))
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        message = "a control character that YAML does not allow"
        raise FileError([Problem(file, message, place.line, place.column)]) from None
    except yaml.MarkedYAMLError as error:
        raise FileError([explain_syntax(error, text, file)]) from None
    if builder.problems:
        raise FileError(builder.problems)
    return Document(file, data, builder.keys, builder.values)


def check(model: type[ModelT], document: Document) -> ModelT:
    """The document as a ``model``. Raises FileError listing every fault with its place."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        faults = explain(error, model, document.data)
        problems = [document.problem(fault.path, fault.message, fault.on_key) for fault in faults]
        problems.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
        raise FileError(problems) from None


_KEYWORDS = {
    word: value
    for name, value in {"": None, "~": None, "null": None, "true": True, "false": False}.items()
    for word in (name, name.title(), name.upper())
}
_INT = re.compile(r"[-+]?[0-9]{1,300}\Z")
_BASED = re.compile(r"0o[0-7]{1,100}\Z|0x[0-9a-fA-F]{1,100}\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_INF = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")


def scalar(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar by YAML 1.2's core schema (§10.3.2)."""
    if text in _KEYWORDS:
        return _KEYWORDS[text]
    if _INT.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text) or _INF.match(text):
        return float(text if _FLOAT.match(text) else text.replace(".", ""))
    return text


class _Dumper(_DUMPER):  # type: ignore[misc]
    """Writes what ``parse_yaml`` reads: no aliases, quotes around text that looks like a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # Line separators other than \n would be folded away outside double quotes.
    plain = isinstance(scalar(value), str) and value.replace("\n", "").isprintable()
    style = None if plain else '"'
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)
    return node


_Dumper.add_representer(str, _text)


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that reads back equal."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Builder:
    """Builds data from parser events, and notes where everything stands."""

    def __init__(self, file: str, bounds: Bounds) -> None:
        self.file = file
        self.limit = bounds.nodes
        self.keys: dict[KeyPath, Place] = {}
        self.values: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []  # faults that do not stop the reading
        self.events: Iterator[Any] = iter(())
        self.nodes = 0

    def document(self, events: Iterator[Any]) -> Any:
        self.events = events
        next(events)  # the start of the stream
        if isinstance(next(events), StreamEndEvent):
            raise FileError([Problem(self.file, "the file is empty")])
        data = self.node(next(events), ())
        next(events)  # the end of the document
        after = next(events)
        if isinstance(after, DocumentStartEvent):
            raise self.refuse(after, "a second document starts here ('---'); a file holds one")
        return data

    def node(self, event: Any, path: KeyPath) -> Any:
        self.nodes += 1
        if self.nodes > self.limit:
            raise self.refuse(event, f"more than {self.limit:,} keys and values, the limit for a file")
        if isinstance(event, AliasEvent):
            name = excerpt(str(event.anchor), 30)
            raise self.refuse(event, f"aliases (*{name}) are not supported; quote text that starts with '*'")
        if event.anchor is not None:
            name = excerpt(str(event.anchor), 30)
            raise self.refuse(event, f"anchors (&{name}) are not supported; quote text that starts with '&'")
        if event.tag is not None and event.tag != "!":
            name = excerpt(str(event.tag), 30)
            raise self.refuse(event, f"tags ({name}) are not supported; quote text that starts with '!'")
        self.values[path] = _place(event)
        if isinstance(event, ScalarEvent):
            return scalar(event.value) if event.implicit[0] else event.value
        if len(path) >= MAX_DEPTH:
            raise self.refuse(event, f"nested more than {MAX_DEPTH} levels deep")
        return self.mapping(path) if isinstance(event, MappingStartEvent) else self.sequence(event, path)

    def sequence(self, start: SequenceStartEvent, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self.node(event, (*path, len(items))))
        return items

    def mapping(self, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            here = (*path, self.key(event))
            if here in self.keys:
                name, first = excerpt(str(here[-1])), self.keys[here].line
                self.fault(event, f"key '{name}' is given twice; the first is in line {first}")
            else:
                self.keys[here] = _place(event)
            result[str(here[-1])] = self.node(next(self.events), here)
        return result

    def key(self, event: Any) -> str:
        """Keys are names: they stay text as written, whatever they look like."""
        if not isinstance(event, ScalarEvent):
            if isinstance(event, AliasEvent):
                self.node(event, ())
            raise self.refuse(event, "a key must be a word; quote text that starts with '{', '[' or '?'")
        self.nodes += 1
        if event.value == "<<" and event.implicit[0]:
            raise self.refuse(event, "merge keys (<<) are not supported; write the keys out")
        if event.anchor is not None or (event.tag is not None and event.tag != "!"):
            raise self.refuse(event, "anchors and tags are not supported; write the key as plain text")
        if not event.value and event.implicit[0]:
            raise self.refuse(event, "a key is missing before ':'")
        return str(event.value)

    def fault(self, event: Any, message: str) -> None:
        place = _place(event)
        self.problems.append(Problem(self.file, message, place.line, place.column))

    def refuse(self, event: Any, message: str) -> FileError:
        self.fault(event, message)
        return FileError(self.problems)


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _decode(raw: bytes, name: str) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileError([Problem(name, "the file is UTF-16; save it as UTF-8")])
    try:
        return raw.decode("utf-8-sig")  # a byte-order mark is harmless (YAML 1.2 §5.2), so it is skipped
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        message = f"not UTF-8: byte 0x{raw[error.start]:02x}; save the file as UTF-8"
        raise FileError([Problem(name, message, line, column)]) from None
