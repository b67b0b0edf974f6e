"""Values out of rows that anybody may have written: every helper checks, or raises ItemError saying where."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from cai.data.chosen import value
from cai.data.turns import listed, shown
from cai.values.errors import ItemError
from cai.values.words import one_of

Row = Mapping[str, Any]
_COMMA = re.compile(r"[+-]?\d+,\d+")


def has(row: Row, *columns: str) -> bool:
    """Whether every column is there (its value may be empty)."""
    return all(column in row for column in columns)


def text(row: Row, column: str) -> str:
    found = value(row, column)
    if not isinstance(found, str):
        raise ItemError("not text", f"'{column}' is {shown(found)}")
    return found


def optional(row: Row, column: str) -> str | None:
    """A text or number as text; None where the column is missing or empty."""
    found = row.get(column)
    if found is None or found == "":
        return None
    if isinstance(found, float) and found.is_integer():
        found = int(found)  # spreadsheets hold every number as a float
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise ItemError("not text", f"'{column}' is {shown(found)}")
    return str(found)


def number(row: Row, column: str) -> float:
    """A finite number, also where it is written as text."""
    found = value(row, column)
    try:
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            raise ValueError
        if isinstance(found, str) and _COMMA.fullmatch(found.strip()):
            found = found.replace(",", ".")  # a spreadsheet of half of Europe
        result = float(found)
    except (ValueError, OverflowError):
        raise ItemError("not a number", f"'{column}' is {shown(found)}") from None
    if not math.isfinite(result):
        raise ItemError("not a number", f"'{column}' is {found}")
    return result


def one_among(row: Row, column: str, allowed: tuple[float, ...]) -> int:
    """A whole number among ``allowed``."""
    found = number(row, column)
    if found not in allowed:
        wanted = one_of([str(int(a)) for a in allowed])
        raise ItemError("label out of range", f"'{column}' is {found:g}; it must be {wanted}")
    return int(found)


def probability(row: Row, column: str) -> float:
    found = number(row, column)
    if not 0.0 <= found <= 1.0:
        raise ItemError("label out of range", f"'{column}' is {found:g}; it must lie in [0, 1]")
    return found


def table(row: Row, column: str) -> Mapping[str, Any]:
    found = listed(value(row, column))
    if not isinstance(found, Mapping):
        raise ItemError("not an object", f"'{column}' is {shown(found)}")
    return found


def items(row: Row, column: str) -> list[Any]:
    found = listed(value(row, column))
    if not isinstance(found, list):
        raise ItemError("not a list", f"'{column}' is {shown(found)}")
    return found


def texts(row: Row, column: str) -> tuple[str, ...]:
    """A list of texts; nothing where the column is missing or empty."""
    found = listed(row.get(column)) or []
    if not isinstance(found, list | tuple) or not all(isinstance(part, str) for part in found):
        raise ItemError("not a list of texts", f"'{column}' is {shown(found)}")
    return tuple(found)


def weight(row: Row) -> float:
    """The column ``weight``, 1 where it is missing."""
    if row.get("weight") in (None, ""):
        return 1.0
    found = number(row, "weight")
    if found < 0:
        raise ItemError("label out of range", f"'weight' is {found:g}; it must be at least 0")
    return found


def from_json(found: str, what: str) -> Any:
    """A cell that holds JSON."""
    try:
        return json.loads(found)
    except (ValueError, RecursionError):
        raise ItemError("not JSON", f"{what} is {shown(found)}") from None
