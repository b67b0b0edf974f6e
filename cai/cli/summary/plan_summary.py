"""``--dry-run``: the resolved configuration, what will be asked, what it costs, one prompt per step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import typer

from cai.cli.summary.suite_summary import planned
from cai.config.run_config import RunConfig
from cai.config.yamlfile import dump_yaml
from cai.constitution.load import Principle, load_constitution
from cai.constitution.templates import Templates
from cai.data.promptsets import inert, load_prompts
from cai.engines import models
from cai.engines.backend import on_a_server
from cai.evaluation.estimate import never_lists
from cai.pipeline.inputs import Asked
from cai.pipeline.launch import check, chosen
from cai.pipeline.memory.fitting import complaint, longest_prompt, situation, table
from cai.pipeline.memory.memory_plan import footprints
from cai.pipeline.order import steps_of
from cai.pipeline.plan import Demand, demands, judged
from cai.pipeline.staleness import compare, differences, told
from cai.run.folder import RunFolder
from cai.run.pace import paces, thoughts
from cai.values.types import Message, Prompt
from cai.values.words import visible


def show_plan(config: RunConfig, folder: Path) -> None:
    """Everything that can be said of a run before a model is asked."""
    check(config)
    templates = Templates.load(Path(config.templates) if config.templates else None)
    constitution = load_constitution(config.constitution, templates)
    sets = load_prompts(config)
    typer.echo(dump_yaml(config.model_dump(mode="json")))
    typer.echo(f"run folder: {folder}")
    origins = compare(Asked(config, RunFolder(folder), constitution), steps_of(config))
    if origins.stale:
        word = "a run needs --replace" if differences(config, RunFolder(folder)) else "made again"
        typer.echo(f"  in it: {told(origins, RunFolder(folder))}, {word}")
    for note in inert(config):
        typer.echo(f"note: {note}")
    for note in chosen(config):
        typer.echo(note)
    found = asyncio.run(demands(config, constitution, templates, sets))
    suites = planned(config, constitution, templates, len(sets.held_out))
    known = [judged(found, config, suite.judge, suite.name) for suite in suites if suite.judge]
    lines = [
        "",
        "model calls at most (answers in the journal are not asked again), and about how many tokens:",
        *map(_asked, found),
        *_sampled(config),
        *(suite.line for suite in suites),
        *_cost([*found, *known], config),
        *_thought(found, folder),
        *_time(found, folder),
        "",
        *_memory(config, longest_prompt(sets)),
        "",
    ]
    for line in lines:
        typer.echo(line)
    for stage, text in _rendered(templates, sets.train[0], constitution.principles[0]).items():
        typer.echo(f"--- {stage} ---\n{visible(text)}\n")


def _memory(config: RunConfig, longest: int) -> list[str]:
    """The memory plan, and what does not fit: said here, refused by a run."""
    about = situation(config, longest)
    plan = footprints(config, steps_of(config), about)
    fault = complaint(config, plan, about)
    refused = "a run is refused: " if config.memory == "refuse" else "warning: "
    return [*(table(plan, about.machine) if plan else []), *([refused + fault] if fault else [])]


def _asked(demand: Demand) -> str:
    counted = f"{_short(demand.read):>8} read {_short(demand.written):>8} written"
    counted += f" ({_short(demand.thought)} of thought)" if demand.thought else ""
    served = on_a_server(demand.model)
    price = f"{_dollars(demand.usd):>24}  {demand.model.name}" if served else ""
    return f"  {demand.step:<20}{demand.calls:>9,}{counted}{price}"


def _sampled(config: RunConfig) -> list[str]:
    """What is not known of a labeler on a server before it is asked."""
    labeler, label = models.labeler(config), config.label
    if label.read != "auto" or not on_a_server(labeler) or never_lists(labeler):
        return []
    return [
        f"  ({labeler.name} is taken to give log-probabilities: cai doctor says; one that does not is asked "
        f"{label.samples} times as often)"
    ]


def _cost(wanted: Sequence[Demand], config: RunConfig) -> list[str]:
    """What models on servers cost together, over all rounds; nothing where there are none."""
    served = [demand for demand in wanted if on_a_server(demand.model)]
    if not served:
        return []
    rounds = config.rounds.count
    known = sum(demand.usd or 0.0 for demand in served) * rounds
    unknown = sorted({demand.model.name for demand in served if demand.usd is None})
    each = f" in {rounds} rounds" if rounds > 1 else ""
    lines = [f"cost at most{each}: {_dollars(known)}"]
    if unknown:
        lines.append(
            f"  the price of {', '.join(unknown)} is not known and not in it: name it beside the model "
            "(price: {input: …, output: …}, US dollars per million tokens)"
        )
    total = sum(demand.read + demand.written for demand in served) * rounds
    for name, limit, asked in (("usd", config.budget.usd, known), ("tokens", config.budget.tokens, total)):
        if limit is not None and asked > limit:
            lines.append(f"  budget.{name} is {limit:,g}: the run stops when it is reached, and can go on")
    return lines


def _thought(wanted: Sequence[Demand], folder: Path) -> list[str]:
    """What is known of thoughts without a cap: how long they were so far, within an answer's tokens."""
    known = thoughts(RunFolder(folder).journal)
    return [
        f"  {demand.step:<20}{_short(known[demand.step]):>9} tokens of thought an answer so far, within its "
        "max_tokens"
        for demand in wanted
        if known.get(demand.step, 0.0) >= 0.5 and not demand.thought
    ]


def _time(wanted: Sequence[Demand], folder: Path) -> list[str]:
    """At the pace at which this folder's answers came, for the steps that have begun."""
    known = paces(RunFolder(folder).journal)
    lines = []
    for demand in wanted:
        pace = known.get(demand.step)
        left = demand.calls - pace.answers if pace else 0
        seconds = pace.seconds_for(left) if pace and left > 0 else None
        if pace and seconds is not None:
            lines.append(
                f"  {demand.step:<20}{pace.answers:>9,} answered; the rest at most about "
                f"{_duration(seconds)} at the pace so far"
            )
    return lines


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _short(count: float) -> str:
    """Tokens in thousands or millions."""
    for size, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f} {word}"
    return f"{count:.0f}"


def _dollars(usd: float | None) -> str:
    return "price not known" if usd is None else f"{usd:,.2f} US dollars"


def _rendered(templates: Templates, prompt: Prompt, principle: Principle) -> dict[str, str]:
    response = "‹response›"
    return {
        "generate": _shown(prompt.messages),
        "critique": _shown((*prompt.answered(response), Message("user", templates.critique(principle)))),
        "revision": templates.revision(principle),
        "label": templates.label(prompt.messages, "‹response 1›", "‹response 2›", principle)
        + f"\n[answer starts] {templates.label_answer(principle)}",
    }


def _shown(messages: tuple[Message, ...]) -> str:
    return "\n".join(f"[{message.role}] {message.content}" for message in messages)
