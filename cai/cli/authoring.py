"""Two tools for whoever writes a constitution: try one prompt, and test the principles' own examples."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import typer

from cai.cli.summary.run_summary import as_json as to_json
from cai.config.run_config import RunConfig
from cai.constitution.load import Constitution, Example, Principle, load_constitution
from cai.constitution.templates import Templates
from cai.engines import models
from cai.engines.models import Models
from cai.run.journal import Journal, derive_seed
from cai.run.progress import Progress
from cai.run.runner import run_items
from cai.stages.critique_verdict import Finding, read_critique
from cai.stages.generate import generate
from cai.stages.label import Labeler, judge
from cai.stages.label_worth import FLIPPING, position_advice
from cai.stages.revise import Critic, criticise, revise
from cai.values.errors import UsageError
from cai.values.types import Comparison, Message, Prompt, Transcript
from cai.values.words import visible

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tally:
    """How one principle did on its own examples; ``None`` where there was nothing to count.

    ``found``: the critic names a problem in the violating response. ``silent``: it finds none in the
    clean one. ``right``: the labeler prefers the better response, both orders averaged. ``flips``: its
    verdict changes with the order.
    """

    principle_id: str
    examples: int
    found: float | None
    silent: float | None
    right: float | None
    flips: float | None


def show_try(config: RunConfig, text: str) -> None:
    """Print one prompt's response and every round of its revision.

    Raises:
        UsageError: the prompt is empty, or bytes that are no text.
    """
    if not text.strip():
        raise UsageError("--prompt is empty; say what a person might ask")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("--prompt is not UTF-8 text; check the terminal's encoding") from None
    prompt = Prompt("try", (Message("user", text),))

    async def work(models_: Models, templates: Templates, constitution: Constitution) -> Transcript:
        engine = models_.engine(config.model)
        response = await generate(prompt, engine, config.generate, config.seed)
        critic = Critic(models_.engine(models.critic(config)), templates, config.revise)
        return await revise(response, critic, constitution, config.seed)

    transcript = _with_models(config, work)
    typer.echo(f"prompt      {visible(text)}")
    typer.echo(f"response    {visible(transcript.initial)}")
    for done in transcript.rounds:
        typer.echo(f"\nround {done.index + 1}     {done.principle_id}")
        if done.critique is not None:
            typer.echo(f"critique    {visible(done.critique)}")
        if done.unread is not None:
            typer.echo(f"unread      {done.unread}; the revision was asked for all the same")
        typer.echo(f"{done.outcome.value:<12}{visible(done.response)}")


def show_test(config: RunConfig, progress: Progress, as_json: bool) -> None:
    """Run every principle's examples through critic and labeler and print what came of it.

    Raises:
        UsageError: no principle of the constitution has examples.
    """

    async def work(
        models_: Models, templates: Templates, constitution: Constitution
    ) -> list[tuple[str, _Verdict]]:
        # Greedy: a test should say the same thing twice.
        quiet = config.revise.model_copy(update={"temperature": 0.0})
        critic = Critic(models_.engine(models.critic(config)), templates, quiet)
        labeler = Labeler(models_.engine(models.labeler(config)), templates, config.label)
        items = [(p.id, (p, e)) for p in constitution.principles for e in p.examples]
        if not items:
            raise UsageError(f"{config.constitution}: no principle has examples; cai schema shows their form")
        found = await _each(progress, "critic", items, lambda item: _criticise(*item, critic))
        judged = await _each(progress, "labeler", items, lambda item: _judge(*item, labeler))
        return [
            (name, _Verdict(*critique, *label))
            for (name, _), critique, label in zip(items, found, judged, strict=True)
        ]

    verdicts = _with_models(config, work)
    tallies = [
        _tally(name, [v for other, v in verdicts if other == name])
        for name in dict.fromkeys(name for name, _ in verdicts)
    ]
    if as_json:
        typer.echo(to_json([asdict(tally) for tally in tallies]))
        return
    typer.echo(f"{'principle':<32}{'examples':>9}{'found':>9}{'silent':>9}{'right':>9}{'flips':>9}")
    for tally in tallies:
        cells = (tally.found, tally.silent, tally.right, tally.flips)
        shown = "".join(f"{'–' if cell is None else f'{cell:.2f}':>9}" for cell in cells)
        typer.echo(f"{tally.principle_id:<32}{tally.examples:>9}{shown}")
    flips = [verdict.flipped for _, verdict in verdicts if verdict.flipped is not None]
    if sum(flips) > FLIPPING * len(flips):
        typer.echo(position_advice(sum(flips), len(flips)))
    if unread := sum(verdict.unread for _, verdict in verdicts):
        typer.echo(f"{unread} critiques gave no verdict and count neither as found nor as silent")


@dataclass(frozen=True, slots=True)
class _Verdict:
    found: bool | None
    silent: bool | None
    unread: int
    right: bool | None
    flipped: bool | None


async def _each(
    progress: Progress,
    label: str,
    items: list[tuple[str, tuple[Principle, Example]]],
    work: Callable[[tuple[Principle, Example]], Awaitable[T]],
) -> list[T]:
    with progress.bar(label, len(items)) as bar:
        results = await run_items(label, items, work, on_done=bar.advance)
    if results.failures:
        raise UsageError(f"example of {results.failures[0].item}: {results.failures[0].reason}")
    return results.done


async def _criticise(
    principle: Principle, example: Example, critic: Critic
) -> tuple[bool | None, bool | None, int]:
    """Found in the violating response, silent on the clean one, and how many critiques gave no verdict."""
    if not example.violation:
        return None, None, 0
    prompt = Prompt(principle.id, example.prompt)

    async def found(response: str) -> bool | None:
        """None where the critique gives no verdict."""
        seed = derive_seed("example", principle.id)
        text = await criticise(prompt.answered(response), principle, critic, seed)
        finding = read_critique(text, critic.templates.no_problem).finding
        return None if finding is Finding.UNREAD else finding is Finding.PROBLEM

    worse, better = await found(example.worse), await found(example.better)
    return worse, None if better is None else not better, (worse is None) + (better is None)


async def _judge(principle: Principle, example: Example, labeler: Labeler) -> tuple[bool | None, bool | None]:
    comparison = Comparison(principle.id, Prompt(principle.id, example.prompt), example.better, example.worse)
    judgement, _ = await judge(comparison, principle, labeler, derive_seed("example", principle.id))
    return (None if judgement.p is None else judgement.p > 0.5), judgement.flipped


def _tally(name: str, verdicts: list[_Verdict]) -> Tally:
    def share(values: list[bool | None]) -> float | None:
        read = [value for value in values if value is not None]
        return sum(read) / len(read) if read else None

    return Tally(
        name,
        len(verdicts),
        share([v.found for v in verdicts]),
        share([v.silent for v in verdicts]),
        share([v.right for v in verdicts]),
        share([v.flipped for v in verdicts]),
    )


def _with_models(config: RunConfig, work: Callable[[Models, Templates, Constitution], Awaitable[T]]) -> T:
    """Run ``work`` with models whose answers are kept in memory only."""
    templates = Templates.load(Path(config.templates) if config.templates else None)
    constitution = load_constitution(config.constitution, templates)

    async def main() -> T:
        with closing(Journal(Path(":memory:"))) as journal:
            models_ = Models(journal)
            try:
                return await work(models_, templates, constitution)
            finally:
                await models_.close()

    return asyncio.run(main())
