"""The command that shows a run. ``cai/report/`` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/latest.")],
    others: Annotated[
        list[Path] | None, typer.Argument(metavar="[OTHER_RUN]...", help="Runs to compare it with.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; default: RUN/report.html.")] = None,
) -> None:
    """One HTML file about a run. What got better or worse, how sure that is, and samples to read."""
    from cai.report.build import write_report

    report = write_report(run, others or [], out)
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{report.path} ({report.size / 1e6:.1f} MB)")
