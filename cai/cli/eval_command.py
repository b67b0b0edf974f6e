"""The command that measures models. ``cai/evaluation/suites/`` does the work, one file per suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cai.cli.walk import resolve, walk
from cai.values.errors import UsageError

app = typer.Typer(rich_markup_mode=None)


@app.command("eval")
def eval_(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="RUN_OR_MODEL...", help="Run folders, RUN:sft, models."),
    ],
    suite: Annotated[list[str] | None, typer.Option(help="NAME, or NAME=FILE with its data.")] = None,
    judge: Annotated[str | None, typer.Option(help="The model that grades; default: the labeler.")] = None,
    judge_engine: Annotated[
        str | None, typer.Option(help="auto, transformers, vllm, openai, openai-responses or anthropic.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Whom win rates are against.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Held-out prompts; default: the run's.")] = None,
    engine: Annotated[str | None, typer.Option(help="Of the models that are measured.")] = None,
    limit: Annotated[int | None, typer.Option(help="Prompts, or items of a suite, at most.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; default: the run folder.")] = None,
    set: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=V", help="One setting.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Metrics as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure models by suites. What got better, what got worse, how sure that is."""
    from cai.cli.summary import suite_summary
    from cai.evaluation.targets import column, read_targets

    if not suite:
        raise UsageError(f"name a suite with --suite; there are\n{suite_summary.catalogue()}")
    found = read_targets(targets)
    first = next(iter(found.models.values()), None)
    file = found.home / "config.yaml" if found.home else None
    flags: dict[str, Any] = {
        "model.name": None if found.home else first,
        "model.engine": engine,
        "evaluate.suites": suite,
        "evaluate.judge.name": judge,
        "evaluate.judge.engine": judge_engine,
        "evaluate.baseline": baseline,
        "evaluate.prompts": prompts,
        "evaluate.limit": limit,
        "evaluate.items": limit,
    }
    flags["evaluate.models"] = {
        name: {"name": model, "engine": engine or "auto"} for name, model in found.models.items()
    }
    home = out or found.home or Path("runs") / f"eval-{column(next(iter(found.models)))}"
    walk(resolve(file, set, flags), home, ["suites"], json, quiet, suite_summary.show)
