"""pydantic's errors in plain words, each with the path of the key or value it is about.

Knows nothing of files: ``yamlfile.check`` and ``settings.resolve`` turn a fault's path into a place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cai.values.words import did_you_mean, excerpt, one_of

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at ``path``. ``on_key``: the key itself is at fault, not its value."""

    path: KeyPath
    message: str
    on_key: bool = False


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> list[Fault]:
    """Every fault that ``error`` reports about ``data``, in pydantic's order, without echoes."""
    details = error.errors(include_url=False)
    unknown = {
        path: _unknown_key(path, model)
        for path in (_path(detail, data) for detail in details if detail["type"] == "extra_forbidden")
    }
    misread: dict[KeyPath, list[Fault]] = {}  # by the mapping that the unknown keys are in
    for path, fault in unknown.items():
        misread.setdefault(path[:-1], []).append(fault)
    by_path: dict[KeyPath, list[Fault]] = {}
    for detail in details:
        path = _path(detail, data)
        if detail["type"] == "extra_forbidden":
            fault = unknown[path]
        elif detail["type"] == "missing" and isinstance(detail["loc"][-1], str):
            if _echoes(path, misread.get(path[:-1], [])):
                continue
            # Several keys can be missing from one mapping, so the key stays in the fault's identity.
            by_path.setdefault(path, []).append(Fault(path[:-1], f"missing key '{path[-1]}'"))
            continue
        else:
            fault = Fault(path, f"{_label(path)} {_complaint(detail)}")
        by_path.setdefault(path, []).append(fault)
    return [_merge(faults) for faults in by_path.values()]


def known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that a mapping at ``path`` of a document for ``model`` may have."""
    found = section_at(model, path)
    return list(found.model_fields) if found else []


def section_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The section that a document for ``model`` has at ``path``, or None for a plain value."""
    here: Any = model
    for part in path:
        here = _step(here, part)
    return _model_in(here)


def _unknown_key(path: KeyPath, model: type[BaseModel]) -> Fault:
    key = str(path[-1])
    message = f"unknown key '{excerpt(key)}'"
    known = known_keys(model, path[:-1])
    if suggestion := did_you_mean(key, known):
        message += suggestion
    elif " " in key.strip():
        message += "; if this is one sentence, put it in quotes: text with ': ' in it reads as key and value"
    elif known:
        message += f"; known keys are {one_of(known, 'and')}"
    return Fault(path, message, on_key=True)


def _echoes(missing: KeyPath, beside: list[Fault]) -> bool:
    """Whether a missing key only repeats a misspelt one, or a sentence that was read as a mapping.

    ``beside``: the unknown keys of the same mapping.
    """
    return any(
        fault.message.endswith(f"did you mean '{missing[-1]}'?") or "one sentence" in fault.message
        for fault in beside
    )


def _path(detail: ErrorDetails, data: Any) -> KeyPath:
    """pydantic's location without the parts that name union members or normalised forms.

    A part counts only where the user's data has such a key or index (or lacks it: "missing").
    """
    path: list[str | int] = []
    for position, part in enumerate(detail["loc"]):
        if _has(data, part):
            data = data[part]
        elif detail["type"] == "missing" and position == len(detail["loc"]) - 1 and isinstance(data, dict):
            data = None
        else:
            continue
        path.append(part)
    return tuple(path)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(data, dict):
        return part in data
    return isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)


def _merge(faults: list[Fault]) -> Fault:
    """Alternatives of a union come as several errors at one path: say them in one sentence."""
    first, *rest = dict.fromkeys(faults)
    wanted = [fault.message.split(" must be ", 1) for fault in (first, *rest)]
    if not rest or any(len(parts) < 2 for parts in wanted):
        return first
    choices = one_of([parts[1].split(", not ")[0] for parts in wanted])
    tail = first.message.partition(", not ")
    return Fault(first.path, f"{wanted[0][0]} must be {choices}{tail[1]}{tail[2]}", first.on_key)


def _label(path: KeyPath) -> str:
    if not path:
        return "the whole file"
    if isinstance(path[-1], int):
        return f"item {path[-1] + 1} of {_label(path[:-1])}"
    return f"'{path[-1]}'"


def describe(value: Any) -> str:
    """What a reader of the file sees: ``the text 'abc'``, ``the number 3``, ``a list``."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text '{excerpt(value, 40)}'"
    return "a mapping" if isinstance(value, dict) else "a list"


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys and values",
    "model_type": "a mapping of keys and values",
    "model_attributes_type": "a mapping of keys and values",
}
_BOUND = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_LENGTH = {"too_short": "too few", "missing": "too few", "too_long": "too many"}


def _complaint(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in _WANTED:
        hint = " (put it in quotes)" if kind == "string_type" and isinstance(value, int | float) else ""
        return f"must be {_WANTED[kind]}, not {describe(value)}{hint}"
    if kind in _BOUND:
        words, bound = _BOUND[kind]
        return f"must be {words} {context[bound]:g}, not {value}"
    if kind == "literal_error":
        choices = str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
        close = did_you_mean(value, choices) if isinstance(value, str) else ""
        return f"must be {one_of(choices)}, not {describe(value)}{close}"
    if kind == "string_too_short" or (kind == "too_short" and context.get("min_length") == 1):
        return "must not be empty"
    if kind in _LENGTH:
        return f"has {_LENGTH[kind]} items"
    return detail["msg"].removeprefix("Value error, ")


def _step(annotation: Any, part: str | int) -> Any:
    """The annotation of what ``part`` leads to, or None when the models do not say."""
    if isinstance(part, str):
        found = _model_in(annotation)
        if found is None:
            return next((get_args(o)[1] for o in _alternatives(annotation) if get_origin(o) is dict), None)
        field = found.model_fields.get(part)
        return field.annotation if field else None
    for option in _alternatives(annotation):
        if get_origin(option) in (list, tuple):
            return get_args(option)[0]
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for option in _alternatives(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union, an optional or an annotated type; the type itself otherwise."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (list, tuple, dict) or not get_args(annotation):
        yield annotation
    else:
        for option in get_args(annotation):
            yield from _alternatives(option)
