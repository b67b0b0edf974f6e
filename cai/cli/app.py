"""The command line: one thin command per step. ``pipeline/launch.py`` does the work.

Exit codes: 0 done · 1 failed · 2 usage or configuration · 3 finished with quarantined items ·
130 interrupted (Ctrl-C) · 143 ended by SIGTERM · 129 ended by SIGHUP, both in the same order as by Ctrl-C.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cai.cli import eval_command, human_commands
from cai.cli.signals import as_ctrl_c, leave_at_once
from cai.cli.walk import finish, resolve, walk
from cai.values.errors import CaiError, UsageError

SECTIONS = {
    "Run": ["run", "report", "eval", "monitor", "doctor", "env"],
    "Author a constitution": ["init", "validate", "show", "try", "test", "schema"],
    "People's feedback": ["import", "route", "annotate", "agreement", "mix", "export"],
    "Steps of a run": ["generate", "revise", "select", "train", "sample", "label", "evaluate", "baseline"],
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


app = typer.Typer(
    name="cai",
    cls=Sections,
    help="Constitutional AI and RLAIF: from a list of principles to an aligned model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
train = typer.Typer(help="Train on what a run folder holds.", no_args_is_help=True)
app.add_typer(train, name="train")
app.add_typer(human_commands.app)
app.add_typer(eval_command.app)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=V", help="Override one setting.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Json = Annotated[bool, typer.Option("--json", help="Metrics as JSON on standard output.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/latest.")]
File = Annotated[str, typer.Argument(metavar="CONSTITUTION", help="A file, or the name of a shipped one.")]
Engine = Annotated[
    str | None, typer.Option(help="auto, transformers, vllm, openai, openai-responses or anthropic.")
]
Model = Annotated[str | None, typer.Option(help="'pocket', a folder, or a Hugging Face model name.")]


@app.command()
def run(
    constitution: Annotated[str | None, typer.Option(help="A file, or the name of a shipped one.")] = None,
    model: Model = None,
    prompts: Annotated[str | None, typer.Option(help="jsonl, csv, parquet, txt or a dataset name.")] = None,
    column: Annotated[str | None, typer.Option(help="The column of --prompts, if not a usual one.")] = None,
    engine: Engine = None,
    method: Annotated[str | None, typer.Option(help="dpo, ppo, grpo, rloo or best-of-n.")] = None,
    human: Annotated[str | None, typer.Option(help="People's votes: what cai import reads.")] = None,
    human_share: Annotated[float | None, typer.Option(help="Share of human labels, 0 to 1.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds at most, each from the newest policy.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only the first N prompts.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn at random.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run folder; run again to go on.")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings.")] = None,
    set: Set = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another experiment in --run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """From a constitution to an aligned model. With the figures for it."""
    flags: dict[str, Any] = {
        "constitution": constitution,
        "model.name": model,
        "prompts": prompts,
        "column": column,
        "model.engine": engine,
        "method": method,
        "human.votes": human,
        "human.share": human_share,
        "limit": limit,
        "seed": seed,
        "rounds.count": rounds,
    }
    resolved = resolve(config, set, flags)
    from cai.cli.summary.plan_summary import show_plan
    from cai.pipeline.order import steps_of
    from cai.pipeline.rounds import execute_rounds
    from cai.pipeline.staleness import default_folder

    folder = run or default_folder(resolved)
    resolved = resolve(config, set, flags, folder)
    if dry_run:
        show_plan(resolved, folder)
        return

    def work(progress: Any) -> Sequence[Any]:
        return execute_rounds(resolved, folder, progress, replace).rounds()

    finish(work, folder, steps_of(resolved), json, quiet)


def _step(name: str, help: str, steps: list[str], parent: typer.Typer = app) -> None:
    """Register a command that walks ``steps`` over an existing run folder; with "watch", as that method."""

    @parent.command(name, help=help)
    def command(run: RunDir, set: Set = None, json: Json = False, quiet: Quiet = False) -> None:
        file = run / "config.yaml"
        if not file.exists():
            raise UsageError(f"{run}: not a run folder (no config.yaml); cai run makes one")
        from cai.cli.summary import step_summary

        flags = {"method": name} if "watch" in steps else {}
        walk(resolve(file, set, flags), run, steps, json, quiet, partial(step_summary.show, steps=steps))


_step("generate", "The policy answers the prompts.", ["generate"])
_step("revise", "Critique and revise the responses.", ["revise"])
_step("select", "Choose what SFT learns.", ["select"])
_step("sample", "The SFT model answers each prompt several times.", ["sample"])
_step("label", "Preference probabilities for the pairs.", ["label"])
_step(
    "mix",
    "AI labels and human votes as one training set. By the rules that human: in the YAML states.",
    ["mix"],
)
_step(
    "evaluate",
    "Held-out prompts before and after.",
    ["answer-base", "answer-sft", "answer-policy", "grade"],
)
_step(
    "baseline",
    "Best-of-n of the SFT model on held-out prompts. To stand beside the trained policies.",
    ["answer-best-of-n", "grade"],
)
_step("monitor", "Failure modes: what training made worse. Beside what it was for.", ["monitor"])
_step("sft", "Fine-tune on the revisions.", ["sft"], train)
_step("dpo", "Direct preference optimisation on the labels.", ["dpo", "watch"], train)
_step("reward", "A reward model on the labels, validated on held-out pairs.", ["reward"], train)
_step("ppo", "Proximal policy optimisation from the reward.", ["ppo", "watch"], train)
_step("grpo", "Group-relative policy optimisation from the reward.", ["grpo", "watch"], train)
_step("rloo", "REINFORCE leave-one-out from the reward.", ["rloo", "watch"], train)
_step(
    "best-of-n",
    "Fine-tune on the best of n responses by the reward.",
    ["best-sample", "best-select", "best-sft", "watch"],
    train,
)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/latest.")],
    others: Annotated[
        list[Path] | None, typer.Argument(metavar="[OTHER_RUN]...", help="Runs to compare it with.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; default: RUN/report.html.")] = None,
) -> None:
    """One HTML file about a run. What got better or worse, how sure that is, and samples to read."""
    from cai.report.write import write_report

    report = write_report(run, others or [], out)
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{report.path} ({report.size / 1e6:.1f} MB)")


@app.command()
def validate(files: Annotated[list[str], typer.Argument(metavar="FILE...")]) -> None:
    """Check constitutions. Faults and warnings are shown as file:line:column."""
    from cai.constitution.advice import warnings
    from cai.constitution.load import trace
    from cai.values.words import visible

    for file in files:
        constitution, principles = trace(file)
        for warning in warnings(file, principles):
            typer.echo(f"warning: {visible(str(warning))}", err=True)
        count = len(principles)
        typer.echo(
            f"{file}: {constitution.name}, {count} principle{'s' if count != 1 else ''}, no fault found"
        )


@app.command()
def show(
    file: File,
    texts: Annotated[bool, typer.Option("--texts", help="With what critic and labeler are asked.")] = False,
    set: Set = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What a constitution comes to. Where each principle is from, how often drawn, what is derived."""
    resolved = resolve(None, set, {"constitution": file})
    from cai.cli import show

    show.show(file, resolved.templates, texts, json)


@app.command()
def schema(
    of: Annotated[str, typer.Argument(metavar="[constitution|config]")] = "constitution",
) -> None:
    """Print the JSON Schema that editors complete from."""
    import json

    from cai.config.settings import config_schema
    from cai.constitution.load import constitution_schema

    known = {"constitution": constitution_schema, "config": config_schema}
    if of not in known:
        raise UsageError(f"schema: {of!r} is neither 'constitution' nor 'config'")
    typer.echo(json.dumps(known[of](), indent=2))


@app.command("try")
def try_(
    file: File,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="What a person might ask.")],
    model: Model = None,
    engine: Engine = None,
    set: Set = None,
) -> None:
    """One prompt's response, critiques and revisions. For authoring a constitution."""
    flags: dict[str, Any] = {"constitution": file, "model.name": model, "model.engine": engine}
    resolved = resolve(None, set, flags)
    from cai.cli import authoring

    authoring.show_try(resolved, prompt)


@app.command()
def test(
    file: File,
    model: Model = None,
    engine: Engine = None,
    set: Set = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A constitution's own examples as its unit tests. Through critic and labeler, with the order swapped."""
    flags: dict[str, Any] = {"constitution": file, "model.name": model, "model.engine": engine}
    resolved = resolve(None, set, flags)
    from cai.cli import authoring
    from cai.run.progress import for_stream

    authoring.show_test(resolved, for_stream(quiet or json), as_json=json)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path()) -> None:
    """A commented constitution, configuration and prompts. They run as they stand."""
    from cai.cli.init import write

    for path in write(folder):
        typer.echo(f"wrote {path}")
    typer.echo(f"now: cd {shlex.quote(str(folder))} && cai run --config config.yaml")


@app.command()
def doctor(
    model: Annotated[str | None, typer.Argument(help="A name on a server, a folder, pocket.")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file; every model that it names.")] = None,
    set: Set = None,
) -> None:
    """What each model can do, and what cai will do with it. Asks every server a handful of questions."""
    from cai.cli import doctor

    if not doctor.show(resolve(config, set, doctor.settings(model, set or ())), policy=model is None):
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print what a bug report needs."""
    from cai.cli.summary.run_summary import environment

    typer.echo(environment())


def main() -> None:
    """Entry point: turn errors into one message and an exit code."""
    with as_ctrl_c() as received:
        code = _outcome()
        if code == 130:
            code = received.exit_code
            leave_at_once(code)
            if any(thread.name.startswith("cai-") for thread in threading.enumerate()):
                # A thread that is loading a model can't be stopped; libraries abort where it outlives them.
                _flush()
                os._exit(code)
    sys.exit(code)


def _outcome() -> int:
    """The exit code of the command line, whose errors have been told."""
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except CaiError as error:
        typer.echo(f"cai: {error}", err=True)
        code = error.exit_code
    except typer.Abort:
        code = 130
    except SystemExit:
        code = 141  # click leaves so, and silently, when nobody reads the pipe any more; what SIGPIPE gives
    except OSError as error:
        code = _not_written(error)
    except Exception as error:
        # Usage errors of click and typer know how to show themselves; anything else is a bug.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    return code if isinstance(code, int) else 0


def _not_written(error: OSError) -> int:
    """A file or the output that could not be used, in one line. → the exit code.

    A pipe that nobody reads any more is no fault to tell of, and never gets here (``main``).
    """
    unwritten = f"the output cannot be written ({error.strerror or error})"
    what = f"{error.filename}: {error.strerror}" if error.filename else unwritten
    with suppress(OSError):
        typer.echo(f"cai: {what}", err=True)
    with suppress(OSError, ValueError):  # what is left in the buffer would fail again at the very end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
