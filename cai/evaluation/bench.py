"""What a suite is given and what it gives back. A suite is one file in ``suites/`` with

    async def measure(bench: Bench) -> Findings

A suite lets every contestant answer first and asks the judge afterwards, so that each local model is loaded
once. Engines are journaled: a suite that was broken off goes on, and grading again asks no model for answers
that it has given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from cai.config.run_config import EvaluateConfig, LabelConfig, ModelConfig
from cai.constitution.load import Constitution
from cai.constitution.templates import Templates
from cai.data.sources import read_prompts
from cai.data.tables import Row
from cai.engines.journaled import JournaledEngine
from cai.run.folder import RunFolder
from cai.run.journal import derive_seed
from cai.run.runner import Results
from cai.stages.generate import generate
from cai.stages.judge_reading import Judging
from cai.stages.label import Labeler
from cai.values.errors import UsageError
from cai.values.types import Failure, Prompt, Response, Score

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model that is measured. ``name`` is its column: ``base``, ``sft``, ``policy``, or the user's own."""

    name: str
    model: ModelConfig


class Each(Protocol):
    """``work`` for every ``(id, item)`` under the engine's bound, with a progress bar named ``label``."""

    async def __call__(
        self,
        label: str,
        engine: JournaledEngine,
        items: Sequence[tuple[str, T]],
        work: Callable[[T], Awaitable[R]],
        /,
    ) -> Results[R]: ...


async def _nothing_open() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything a suite needs.

    ``held_out()`` are the run's held-out prompts; ``data`` is the file or dataset name given to this suite
    (``name=FILE``), which most suites read instead. ``seed`` is the run's own: use ``seed_of``. ``close``
    frees the model that is loaded (it is loaded again when it is asked); ``folder`` is the run's.
    """

    contestants: tuple[Contestant, ...]
    baseline: str
    judge: ModelConfig
    held_out: Callable[[], tuple[Prompt, ...]]
    data: str | None
    config: EvaluateConfig
    label: LabelConfig
    constitution: Constitution
    templates: Templates
    seed: int
    engine: Callable[[ModelConfig], JournaledEngine]
    each: Each
    say: Callable[[str], None]
    close: Callable[[], Awaitable[None]] = _nothing_open
    folder: RunFolder | None = None

    def seed_of(self, *names: str) -> int:
        return derive_seed(self.seed, *names)

    def judge_engine(self) -> JournaledEngine:
        return self.engine(self.judge)

    def labeler(self) -> Labeler:
        """The judge as a labeler of pairs, asked as ``label:`` says."""
        return Labeler(self.judge_engine(), self.templates, self.label)

    def judging(self) -> Judging:
        """How the judge's answers about one text are read: as ``label:`` says."""
        return Judging(self.label)

    def need_data(self, what: str) -> str:
        """The suite's data.

        Raises:
            UsageError: none was given.
        """
        if self.data is None:
            raise UsageError(f"this suite needs {what}: name a file or dataset, --suite NAME=FILE")
        return self.data


@dataclass(frozen=True, slots=True)
class Findings:
    """``scores`` by ``<metric>/<model>``; ``rows`` are the items behind them (data/suite_<name>.parquet).

    A figure with nothing behind it is left out, never 0. ``notes``: what a reader of the figures must know.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: tuple[str, ...] = ()


Measure = Callable[[Bench], Awaitable[Findings]]


def prompts_of(bench: Bench) -> tuple[Sequence[Prompt], list[Failure]]:
    """The prompts to answer: the suite's own data where it was given some, else the held-out prompts."""
    if bench.data is None:
        return bench.held_out(), []
    return read_prompts(bench.data, bench.config.items)


async def answer(bench: Bench, contestant: Contestant, prompts: Sequence[Prompt]) -> Results[Response]:
    """A contestant's answers to ``prompts``, one each.

    The seed is that of a run's own evaluation: answers to its held-out prompts are those of eval_*.parquet.
    """
    engine, seed = bench.engine(contestant.model), bench.seed_of("evaluate")

    async def work(prompt: Prompt) -> Response:
        return await generate(prompt, engine, bench.config, seed)

    return await bench.each(f"{contestant.name} answers", engine, [(p.id, p) for p in prompts], work)


async def answer_all(
    bench: Bench, prompts: Sequence[Prompt]
) -> tuple[dict[str, list[Response]], list[Failure]]:
    """Every contestant's answers by name, and who failed to answer what (``<model>/<prompt>``)."""
    found: dict[str, list[Response]] = {}
    failures: list[Failure] = []
    for contestant in bench.contestants:
        results = await answer(bench, contestant, prompts)
        found[contestant.name] = results.done
        failures += of_model(contestant.name, results.failures)
    return found, failures


def of_model(name: str, failures: Sequence[Failure]) -> list[Failure]:
    """The same failures, with the model's name before the item's."""
    return [Failure(f.stage, f"{name}/{f.item}", f.reason, f.detail) for f in failures]
