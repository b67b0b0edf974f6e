"""The commands about people's feedback: import, collect, measure, export. ``cai/human/`` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cai.values.errors import UsageError

app = typer.Typer(rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]


@app.command("import")
def import_(
    spec: Annotated[
        str, typer.Argument(metavar="FILE", help="A file, dataset folder, or org/name[@config][:split].")
    ],
    to: Annotated[Path, typer.Option(help="A run folder, or a .jsonl or .parquet file.")],
    format: Annotated[str | None, typer.Option(help="Found out when not given.")] = None,
    question: Annotated[str | None, typer.Option(help="What was asked: helpful, harmless, ...")] = None,
    columns: Annotated[str | None, typer.Option(help="prompt=...,a=...,b=...,preferred=...")] = None,
    source: Annotated[
        str | None, typer.Option(help="Who voted, where nobody is named; ai:NAME for a model.")
    ] = None,
    coding: Annotated[
        str | None, typer.Option(help="What verdicts mean: 0=a,1=b (a, b, tie or both_bad).")
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="Pairs of a row with many answers, at most.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the file, where it is guessed wrong.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of a table: comma, semicolon, tab, ...")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the votes that are there, not add to them.")
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="The file's own summary instead of each annotator.")
    ] = False,
    json: Json = False,
) -> None:
    """Human feedback from other tools' files. Every row is taken, or rejected with a reason."""
    from cai.data.dialect import manner
    from cai.data.verdicts import parse_coding
    from cai.human.exchange.columns import parse_columns
    from cai.human.exchange.import_report import describe
    from cai.human.exchange.importing import import_votes
    from cai.human.pairs import Options, parse_source

    said = parse_source(source) if source else None
    mapping = parse_columns(columns) if columns else {}
    codes = parse_coding(coding) if coding else {}
    written = manner(encoding, delimiter)
    options = Options(format, question, not summary, mapping, said, codes, pairs, written)
    report = import_votes(spec, to, options, replace)
    _tell(report, describe(report), json)
    if report.failures:
        raise typer.Exit(3)


@app.command()
def export(
    source: Annotated[
        Path, typer.Argument(metavar="VOTES", help="A run folder, or a file that cai import wrote.")
    ],
    to: Annotated[Path, typer.Option(help="A file, or a folder for a dataset with its card.")],
    format: Annotated[str, typer.Option(help="trl, cai, hh-rlhf, argilla, table, inspect, ...")] = "trl",
    table: Annotated[str, typer.Option(help="Of a run: human, or preferences (the AI labels).")] = "human",
    json: Json = False,
) -> None:
    """Preferences or transcripts for other tools. What a format cannot hold is left out and counted."""
    from cai.human.exchange.exporting import WRITABLE, constitution_of, describe, export_votes
    from cai.human.exchange.importing import read_votes

    # Under the default format alone: a dataset may well be called after the format that was asked for.
    if format == "trl" != str(to) and str(to) in (*WRITABLE, "inspect") and not to.exists():
        raise UsageError(f"--to {to} names a format, not a place; say --format {to} --to FILE_OR_FOLDER")
    if format == "inspect":
        from cai.pipeline.steps import inspect_log

        written = inspect_log.export_inspect(source, to)
        _tell(written, inspect_log.describe(written), json)
        return
    report = export_votes(read_votes(source, table), to, format, constitution_of(source))
    _tell(report, describe(report), json)
    # A vote without a side (both bad, not rated) is no fault: a format of pairs has no place for it.
    if any(failure.reason != "unscored" for failure in report.left_out):
        raise typer.Exit(3)


@app.command()
def agreement(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_VOTES", help="A run folder, or a file that cai import can read.")
    ],
    json: Json = False,
) -> None:
    """How far people and the AI labels agree. With each other, with themselves, and who has which bias."""
    from cai.human.agreement.agreement_report import agreement_of, describe

    measured = agreement_of(source)
    _tell(measured, describe(measured), json)


@app.command()
def annotate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/latest.")],
    question: Annotated[str | None, typer.Option(help="Asked of every pair, not the principles'.")] = None,
    guidelines: Annotated[Path | None, typer.Option(help="A Markdown file shown beside the pairs.")] = None,
    strength: Annotated[bool, typer.Option("--strength", help="Ask how much better, too.")] = False,
    per_pair: Annotated[int, typer.Option(help="Annotators who vote on each pair.")] = 1,
    repeat: Annotated[float, typer.Option(help="Share of pairs shown twice to an annotator.")] = 0.05,
    port: Annotated[int, typer.Option(help="0: that of the last time, or any that is free.")] = 0,
) -> None:
    """A web page on which people vote on the run's pairs. For this machine alone; Ctrl-C ends it."""
    from cai.human.votes.poll import Options
    from cai.human.votes.server import annotate

    annotate(run, Options(question, guidelines, per_pair, repeat, strength, port), typer.echo)


@app.command()
def route(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/latest.")],
    budget: Annotated[int, typer.Option(help="Pairs that people have time for.")] = 100,
    explore: Annotated[float, typer.Option(help="Share of them drawn at random.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the random ones.")] = 0,
    json: Json = False,
) -> None:
    """Queue the pairs that most deserve a person's vote. For cai annotate."""
    from cai.pipeline.steps.route import describe, write_queue

    queue = write_queue(run, budget, explore, seed)
    _tell(queue, describe(queue, run), json)


def _tell(report: Any, lines: list[str], as_json: bool) -> None:
    """A report as lines, or as JSON."""
    import json
    from dataclasses import asdict

    typer.echo(json.dumps(asdict(report), default=str) if as_json else "\n".join(lines))
