"""Which format a file has, from its first rows."""

from __future__ import annotations

from collections.abc import Sequence

from cai.errors import FileError, Problem
from cai.human.fields import Row
from cai.human.formats import FORMATS
from cai.human.formats.base import Format
from cai.words import excerpt, one_of

SAMPLE = 20  # rows looked at; a broken one among them decides nothing


def detect(spec: str, rows: Sequence[Row]) -> Format:
    """The one format that most of ``rows`` have.

    Raises:
        FileError: no format fits at least half of them, or two fit equally well. The message lists the
            columns that are there and what each format needs.
    """
    fitting = {name: sum(format.fits(row) for row in rows) for name, format in FORMATS.items()}
    most = max(fitting.values(), default=0)
    best = [name for name, count in fitting.items() if count == most]
    if rows and 2 * most >= len(rows) and len(best) == 1:
        return FORMATS[best[0]]
    if not rows:
        raise FileError([Problem(spec, "no row in it that can be read")])
    columns = ", ".join(dict.fromkeys(str(column) for row in rows for column in row))
    if 2 * most >= len(rows):
        raise FileError(
            [
                Problem(
                    spec,
                    f"the columns {excerpt(columns, 200)} fit {one_of(best, 'and')}: name one with --format",
                )
            ]
        )
    needed = "\n".join(f"  {name:<24} {format.needs}" for name, format in FORMATS.items())
    raise FileError(
        [
            Problem(
                spec,
                f"no known format: the columns are {excerpt(columns, 300)}\nKnown formats need:\n{needed}",
            )
        ]
    )
