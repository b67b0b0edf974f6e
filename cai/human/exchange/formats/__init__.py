"""Every format by its name, and which one a file has. Each file says which columns it reads.

What a format is stands in ``exchange/format.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cai.human.exchange.fields import Row
from cai.human.exchange.format import Format
from cai.human.exchange.formats import (
    alpaca,
    argilla,
    chatbot_arena,
    helpsteer,
    hh_rlhf,
    label_studio,
    open_instruct,
    own,
    pku,
    table,
    trl,
    ultrafeedback,
    unpaired,
)
from cai.human.exchange.formats.scored import ranked, reddit, summaries, trees
from cai.values.errors import FileError, Problem, UsageError
from cai.values.words import did_you_mean, excerpt, one_of

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        own.FORMAT,
        hh_rlhf.FORMAT,
        trl.FORMAT,
        unpaired.FORMAT,
        ultrafeedback.FORMAT,
        ultrafeedback.BINARIZED,
        pku.FORMAT,
        helpsteer.TWO,
        helpsteer.THREE,
        chatbot_arena.FORMAT,
        alpaca.FORMAT,
        open_instruct.FORMAT,
        argilla.FORMAT,
        label_studio.FORMAT,
        ranked.FORMAT,
        trees.ROWS,
        trees.TREES,
        reddit.FORMAT,
        summaries.SUMMARIES,
        summaries.WEBGPT,
        table.FORMAT,
    )
}

SAMPLE = 20  # rows looked at; a broken one among them decides nothing

TOOLS = (argilla.FORMAT, label_studio.FORMAT)


def named(name: str) -> Format:
    """The format of that name. Raises UsageError when there is none."""
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"no format '{name}'{did_you_mean(name, FORMATS)}; known are {known}")
    return FORMATS[name]


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
    if 2 * most < len(rows):
        for format in FORMATS.values():
            if format.near is not None and 2 * sum(map(format.near, rows)) >= len(rows):
                return format
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
