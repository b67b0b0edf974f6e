"""``cai show``: the resolved list of a constitution, in 80 columns or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any

import typer

from cai.cli.summary.run_summary import as_json as to_json
from cai.config.resources import shipped_folder
from cai.constitution.inherit import TEXTS, Written
from cai.constitution.load import trace
from cai.constitution.templates import Templates
from cai.values.words import visible

WIDTH = 80
_INDENT = " " * 9


def show(constitution: str, templates: str | None, texts: bool, as_json: bool) -> None:
    """Print every principle: its file, weight, probability of being drawn, tags, and which texts are derived.

    ``texts`` adds what critic and labeler are asked. Raises FileError and UsageError, as ``trace`` does.
    """
    resolved, principles = trace(constitution, Templates.load(Path(templates) if templates else None))
    total = sum(written.value.weight for written in principles)
    if as_json:
        head = {
            "name": resolved.name,
            "description": resolved.description,
            "fingerprint": resolved.fingerprint,
        }
        typer.echo(to_json({**head, "principles": [_entry(written, total) for written in principles]}))
        return
    count = len(principles)
    plural = "" if count == 1 else "s"
    typer.echo(_wrapped(f"{resolved.name}: {count} principle{plural}, weight {total:g} in all", ""))
    if resolved.description:
        typer.echo(_wrapped(resolved.description, ""))
    for file, group in groupby(principles, key=lambda written: written.file):
        typer.echo(f"\nfrom {visible(_named(file))}")
        for written in group:
            for line in _lines(written, total, texts):
                typer.echo(line)


def _lines(written: Written, total: float, texts: bool) -> Iterator[str]:
    value = written.value
    yield f"{value.weight / total:7.1%}  {visible(value.id)}"
    yield _wrapped(value.principle, _INDENT)
    weight = f"weight {value.weight:g}"
    if value.weight != written.entry.weight:
        weight += f" ({written.entry.weight:g} as written)"
    examples = len(value.examples)
    facts = [
        f"line {written.problem((), '').line}",
        weight,
        f"{examples or 'no'} example{'' if examples == 1 else 's'}",
        f"tags: {', '.join(value.tags) or 'none'}",
        f"derived: {', '.join(written.derived) or 'nothing'}",
    ]
    yield _wrapped("; ".join(facts), _INDENT)
    if texts:
        for text in TEXTS:
            origin = " (derived)" if text in written.derived else ""
            yield _wrapped(f"{text}{origin}: {getattr(value, text)}", f"{_INDENT}  ")


def _entry(written: Written, total: float) -> dict[str, Any]:
    value = written.value
    place = written.problem((), "")
    return {
        "id": value.id,
        "principle": value.principle,
        "file": place.file,
        "line": place.line,
        "weight": value.weight,
        "weight_as_written": written.entry.weight,
        "probability": value.weight / total,
        "tags": list(value.tags),
        "examples": len(value.examples),
        "derived": list(written.derived),
        **{text: getattr(value, text) for text in TEXTS},
    }


def _named(file: Path) -> str:
    """A shipped file by its name, one below the working folder by its path from there."""
    if file.parent == shipped_folder("constitutions").resolve():
        return f"{file.name}, shipped with cai"
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _wrapped(text: str, indent: str) -> str:
    line = visible(" ".join(text.split()))
    return fill(line, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
