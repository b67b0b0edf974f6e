"""What every step is given, and the few things all of them do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cai.config.run_config import RunConfig
from cai.constitution.load import Constitution
from cai.constitution.templates import Templates
from cai.data.tables import response_from
from cai.engines.journaled import JournaledEngine, Used
from cai.engines.models import Models
from cai.run.folder import RunFolder
from cai.run.journal import derive_seed
from cai.run.progress import Progress
from cai.run.runner import Results, run_items
from cai.values.errors import CaiError
from cai.values.types import Prompt, Score

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a step needs: what was asked for, where it goes, and the models."""

    config: RunConfig
    folder: RunFolder
    constitution: Constitution
    templates: Templates
    models: Models
    progress: Progress
    earlier: tuple[RunFolder, ...] = ()  # of the rounds before this one, the oldest first
    first: bool = True  # of several processes that share a training, the one that writes

    def seed(self, stage: str) -> int:
        """The seed of a stage: it names the run and the stage, never the order of things."""
        return derive_seed(self.config.seed, stage)


async def ask_all(
    run: Run,
    stage: str,
    engine: JournaledEngine,
    items: Sequence[tuple[str, T]],
    work: Callable[[T], Awaitable[R]],
) -> Results[R]:
    """``run_items`` with a progress bar whose tokens per second come from the engine's meter."""
    with run.progress.bar(stage, len(items)) as bar:
        seen = engine.meter.completion_tokens

        def on_done() -> None:
            nonlocal seen
            now = engine.meter.completion_tokens
            bar.advance(1, now - seen)
            seen = now

        return await run_items(stage, items, work, bound=engine.max_concurrency, on_done=on_done)


def prompts_of(run: Run) -> list[Prompt]:
    """The run's training prompts: those that got a response."""
    return [response.prompt for response in run.folder.read_table("responses", response_from)]


def record_counts(run: Run, stage: str, **counts: int) -> None:
    """Write counts under ``stage/…`` in metrics.json. A count is exact: its interval is itself."""
    scores = {f"{stage}/{name}": Score(value, value, value, value) for name, value in counts.items()}
    run.folder.record_metrics(scores, drop=f"{stage}/")


def record_thought(run: Run, step: str, before: Used) -> None:
    """Tokens of thought in the answers of ``step``, and of all that was written, where there was any."""
    after = run.models.used
    thought, written = after.thought - before.thought, after.written - before.written
    counts = {f"{step}/thought_tokens": thought, f"{step}/written_tokens": written}
    known = run.folder.read_metrics()
    for key, n in counts.items():
        if thought or key in known:
            run.folder.record_metrics({key: Score(n, n, n, n)} if thought else {}, drop=key)


def require(rows: Sequence[object], message: str) -> None:
    """Stop a run that has nothing to go on with."""
    if not rows:
        raise CaiError(f"{message}; see failures.jsonl in the run folder")
