"""``cai --help``: the commands by what one does with them, each with one sentence that fits its line."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

SECTIONS = {
    "Run": ["run", "report", "eval", "monitor", "env"],
    "Author a constitution": ["init", "validate", "try", "test", "schema"],
    "People's feedback": ["import", "route", "annotate", "agreement", "mix", "export"],
    "Stages of a run": ["generate", "revise", "select", "train", "sample", "label", "evaluate", "baseline"],
}


class Sections(TyperGroup):
    """The group behind ``cai``: its help lists the commands by section."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for title, names in SECTIONS.items():
            room = formatter.width - width - 6
            rows = [(name.ljust(width), self.commands[name].get_short_help_str(room)) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)
