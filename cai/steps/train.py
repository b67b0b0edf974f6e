"""The steps that change weights: SFT on the demonstrations, DPO on the preferences.

A training runs in a thread of its own, so that Ctrl-C reaches it as a request: it finishes the update,
saves a checkpoint and stops. Whatever model is loaded for sampling is freed first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from cai import models, tables
from cai.engines.load import model_path
from cai.steps.run import Run, record_counts
from cai.training.dpo import train_dpo
from cai.training.result import TrainResult
from cai.training.rows import Example
from cai.training.sft import train_sft
from cai.types import rank

Progress = Callable[[int, int, dict[str, float]], None]
Training = Callable[[Progress, Callable[[], bool]], TrainResult]


async def step_sft(run: Run) -> None:
    """demonstrations.parquet → checkpoints/sft."""
    rows = run.folder.read_table("demonstrations", tables.demonstration_from)
    examples = [Example(row.prompt, row.response) for row in rows]
    base, out = model_path(run.config.model), run.folder.checkpoint("sft")
    seed = run.seed("sft")

    def training(progress: Progress, should_stop: Callable[[], bool]) -> TrainResult:
        return train_sft(
            base, examples, run.config.sft, out, seed, progress=progress, should_stop=should_stop
        )

    await _train(run, "sft", training)


async def step_dpo(run: Run) -> None:
    """preferences.parquet → checkpoints/policy. Unscored pairs are not trained on."""
    preferences = run.folder.read_table("preferences", tables.preference_from)
    pairs = [ranked for preference in preferences if (ranked := rank(preference)) is not None]
    base, out = run.folder.checkpoint("sft"), run.folder.checkpoint("policy")
    seed = run.seed("dpo")

    def training(progress: Progress, should_stop: Callable[[], bool]) -> TrainResult:
        return train_dpo(base, pairs, run.config.dpo, out, seed, progress=progress, should_stop=should_stop)

    await _train(run, "dpo", training, "policy")


async def _train(run: Run, stage: str, training: Training, checkpoint: str | None = None) -> None:
    """Run ``training`` in a thread and record what it says; Ctrl-C asks it to stop and waits for it."""
    await run.models.close()
    stop = threading.Event()
    with run.progress.bar(stage, 0) as bar:
        seen = [0, 0]  # updates and tokens shown so far; a resumed training starts behind its first

        def progress(step: int, total: int, figures: dict[str, float]) -> None:
            tokens = int(figures["tokens"])
            bar.total = total
            bar.advance(step - seen[0], tokens - seen[1])
            seen[:] = step, tokens

        task = asyncio.ensure_future(asyncio.to_thread(training, progress, stop.is_set))
        try:
            result = await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set()
            run.progress.say(f"{stage}: finishing this update and saving a checkpoint")
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # the training's own word for "stopped"; the cancellation says it already
            raise
    run.models.forget(models.trained(run.config, run.folder, checkpoint or stage))
    run.folder.record_failures({stage}, result.failures)
    left_out = {f"left_out_{reason.replace(' ', '_')}": n for reason, n in result.left_out.items()}
    record_counts(run, stage, rows=result.rows, steps=result.steps, tokens=result.tokens, **left_out)
