"""``--columns prompt=question,a=answer1,…``: our names for the columns of somebody's table."""

from __future__ import annotations

from cai.values.errors import UsageError
from cai.values.words import did_you_mean, one_of

NAMES = (
    "prompt",
    "messages",
    "a",
    "b",
    "chosen",
    "rejected",
    "preferred",
    "p",
    "annotator",
    "id",
    "comment",
    "weight",
    "tags",
)


def parse_columns(spec: str) -> dict[str, str]:
    """``prompt=question,a=answer1,…`` as a mapping.

    Raises:
        UsageError: not of that form, an unknown name, a name given twice, or one response without the other.
    """
    columns: dict[str, str] = {}
    for part in spec.split(","):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            raise UsageError(f"--columns {spec}: '{part.strip()}' is not name=column")
        if name not in NAMES:
            hint = f"{did_you_mean(name, NAMES)}; known are {one_of(NAMES, 'and')}"
            raise UsageError(f"--columns {spec}: unknown name '{name}'{hint}")
        if name in columns:
            raise UsageError(f"--columns {spec}: '{name}' is given twice")
        columns[name] = column
    for name, other in (("a", "b"), ("b", "a"), ("chosen", "rejected"), ("rejected", "chosen")):
        if name in columns and other not in columns:
            raise UsageError(f"--columns {spec}: '{name}' needs '{other}' beside it")
    return columns
