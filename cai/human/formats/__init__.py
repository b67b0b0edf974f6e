"""Every format by its name. ``base.py`` says what a format is; each file says which columns it reads."""

from __future__ import annotations

from cai.errors import UsageError
from cai.human.formats import (
    alpaca,
    arena,
    argilla,
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
from cai.human.formats.base import Format
from cai.words import did_you_mean

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
        arena.FORMAT,
        alpaca.FORMAT,
        open_instruct.FORMAT,
        argilla.FORMAT,
        label_studio.FORMAT,
        table.FORMAT,
    )
}

TOOLS = (argilla.FORMAT, label_studio.FORMAT)


def named(name: str) -> Format:
    """The format of that name. Raises UsageError when there is none."""
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"no format '{name}'{did_you_mean(name, FORMATS)}; known are {known}")
    return FORMATS[name]
