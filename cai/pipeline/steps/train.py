"""The steps that change weights: SFT on the demonstrations, DPO and the reward model on the preferences.

A training runs in a thread of its own, so that Ctrl-C reaches it as a request: it finishes the update,
saves a checkpoint and stops. Whatever model is loaded for sampling is freed first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from cai.data import tables
from cai.engines import models
from cai.engines.backend import model_path
from cai.pipeline.steps.step import Run
from cai.run.threads import apart
from cai.statistics import prediction
from cai.statistics.soft_labels import soft_scores
from cai.training.dpo import train_dpo
from cai.training.examples import Example
from cai.training.reporting import reporting
from cai.training.result import GUARD, TrainResult
from cai.training.reward_model import is_held_out, train_reward
from cai.training.sft import train_sft
from cai.values.errors import CaiError
from cai.values.types import Failure, Preference, Response, Score, rank

Progress = Callable[[int, int, dict[str, float]], None]
Training = Callable[[Progress, Callable[[], bool]], TrainResult]


async def step_sft(run: Run) -> None:
    """demonstrations.parquet → checkpoints/sft."""
    await _imitate(run, "sft", "demonstrations", model_path(run.config.model), "sft")


async def step_best_sft(run: Run) -> None:
    """best_demonstrations.parquet + checkpoints/sft → checkpoints/policy: best-of-n learned by SFT."""
    await _imitate(run, "best-sft", "best_demonstrations", run.folder.checkpoint("sft"), "policy")


async def _imitate(run: Run, stage: str, table: str, base: Path, checkpoint: str) -> None:
    rows = run.folder.read_table(table, tables.demonstration_from)
    examples = [Example(row.prompt, row.response) for row in rows]
    out, seed = run.folder.checkpoint(checkpoint), run.seed(stage)

    def training(progress: Progress, should_stop: Callable[[], bool]) -> TrainResult:
        config, say = run.config.sft, run.progress.warn
        return train_sft(
            base, examples, config, out, seed, progress=progress, should_stop=should_stop, say=say
        )

    await train_on(run, stage, training, checkpoint)


def mixture_of(run: Run) -> list[Preference]:
    """What ``steps/mix.py`` made of the AI labels and the human votes."""
    return run.folder.read_table("mixture", tables.preference_from)


async def step_dpo(run: Run) -> None:
    """mixture.parquet → checkpoints/policy. Unscored pairs are not trained on."""
    pairs = [ranked for p in mixture_of(run) if (ranked := rank(p)) is not None]
    base, out = run.folder.checkpoint("sft"), run.folder.checkpoint("policy")
    seed = run.seed("dpo")

    def training(progress: Progress, should_stop: Callable[[], bool]) -> TrainResult:
        config, say = run.config.dpo, run.progress.warn
        return train_dpo(base, pairs, config, out, seed, progress=progress, should_stop=should_stop, say=say)

    await train_on(run, "dpo", training, "policy")


async def step_reward(run: Run) -> None:
    """mixture.parquet → checkpoints/reward and reward_validation.parquet.

    The pairs of a share of the prompts are not learned; how the reward model judges them is
    ``reward/accuracy``, ``reward/log_loss`` and ``reward/ece`` in metrics.json, and what they could be
    (``statistics/soft_labels.py``). Unscored pairs are neither learned nor judged.
    """
    config = run.config.reward_model
    scored = [p for p in mixture_of(run) if p.p is not None]
    split = run.seed("held-out")  # not the training's: who is held out stays the same whatever is trained
    held = [p for p in scored if is_held_out(p.comparison.prompt, config.held_out, split)]
    learned = [p for p in scored if not is_held_out(p.comparison.prompt, config.held_out, split)]
    if held and not learned:
        raise CaiError(f"reward: all {len(held)} pairs are held out; lower reward_model.held_out")
    pairs = [ranked for p in learned if (ranked := rank(p)) is not None]
    base, out = run.folder.checkpoint("sft"), run.folder.checkpoint("reward")
    seed = run.seed("reward")

    def training(progress: Progress, should_stop: Callable[[], bool]) -> TrainResult:
        say = run.progress.warn
        return train_reward(
            base, pairs, config, out, seed, progress=progress, should_stop=should_stop, say=say
        )

    result = await _in_a_thread(run, "reward", training, "reward")
    judged, failures = await _judge_held_out(run, held)
    run.folder.write_table("reward_validation", map(asdict, judged))
    counts = {"held_out": len(judged), "held_out_unscored": len(failures)}
    measured = prediction.scores(judged) | soft_scores(judged)
    _record(run, "reward", result, counts=counts, measured=measured, failures=failures)


async def _judge_held_out(
    run: Run, held: Sequence[Preference]
) -> tuple[list[prediction.PairScore], list[Failure]]:
    """reward(a) - reward(b) of every pair by the finished reward model, as everybody else will load it."""
    from cai.rewards.model import RewardModel

    if not held:
        run.progress.say("reward: no pair is held out, so nothing says how good the reward model is")
        return [], []
    reward = RewardModel(run.folder.checkpoint("reward"))
    comparisons = [p.comparison for p in held]
    values = await reward.score([Response(c.prompt, text) for c in comparisons for text in (c.a, c.b)])
    await reward.close()
    judged: list[prediction.PairScore] = []
    failures: list[Failure] = []
    for p, a, b in zip(held, values[::2], values[1::2], strict=True):
        if p.p is None or a.value is None or b.value is None:
            reason = a.reason or b.reason
            failures.append(Failure("reward", p.comparison.id, "held-out pair unscored", reason))
            continue
        principles = tuple(j.principle_id for j in p.judgements)
        judged.append(
            prediction.PairScore(
                p.comparison.id, p.comparison.prompt.id, p.source.name, principles, p.p, a.value - b.value
            )
        )
    return judged, failures


async def train_on(run: Run, stage: str, training: Training, checkpoint: str) -> TrainResult:
    """Do a training that writes ``checkpoints/<checkpoint>``, and record what it says under ``stage``.

    Of several processes that share it, the first records.
    """
    result = await _in_a_thread(run, stage, training, checkpoint)
    if run.first:
        _record(run, stage, result)
    return result


async def _in_a_thread(run: Run, stage: str, training: Training, checkpoint: str) -> TrainResult:
    """Run ``training`` in a thread; Ctrl-C asks it to stop and waits for it."""
    await run.models.close()
    stop = threading.Event()
    reported = run.config.report_to if run.first else ()
    with run.progress.bar(stage, 0) as bar, reporting(reported, run.folder.path, stage) as report:
        seen = [0, 0]  # updates and tokens shown so far; a resumed training starts behind its first

        def progress(step: int, total: int, figures: dict[str, float]) -> None:
            tokens = int(figures["tokens"])
            bar.total = total
            bar.advance(step - seen[0], tokens - seen[1])
            seen[:] = step, tokens
            report(step, figures)

        task = asyncio.ensure_future(apart(training, progress, stop.is_set))
        try:
            result = await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set()
            run.progress.say(f"{stage}: finishing this update and saving a checkpoint")
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # the training's own word for "stopped"; the cancellation says it already
            raise
    run.models.forget(models.trained(run.config, run.folder, checkpoint))
    return result


def _record(
    run: Run,
    stage: str,
    result: TrainResult,
    *,
    counts: Mapping[str, int] | None = None,
    measured: Mapping[str, Score] | None = None,
    failures: Sequence[Failure] = (),
) -> None:
    """Everything that a training has to say, under ``stage/…`` in metrics.json and in failures.jsonl.

    A count is exact: its interval is itself. A figure of the training is a mean over its recent updates, and
    has no interval: updates follow one another, so they are no sample of anything. Its two bounds are its
    value.
    """
    exact = {"rows": result.rows, "steps": result.steps, "tokens": result.tokens, **(counts or {})}
    if result.guard is not None:
        exact[GUARD + result.guard] = 1
        run.progress.say(f"{stage}: stopped by {result.guard} after {result.steps} steps")
    exact |= {f"left_out_{reason.replace(' ', '_')}": n for reason, n in result.left_out.items()}
    scores = {name: Score(n, n, n, n) for name, n in exact.items()} | _figures(result) | dict(measured or {})
    run.folder.record_metrics({f"{stage}/{name}": score for name, score in scores.items()}, drop=f"{stage}/")
    told = [replace(failure, stage=stage) for failure in (*result.failures, *failures)]
    run.folder.record_failures({stage}, told)


def _figures(result: TrainResult) -> dict[str, Score]:
    """Mean of each figure over the recent updates, without an interval; ``n`` counts updates."""
    names = [name for name in result.metrics if name != "learning_rate"]  # a setting, not a finding
    counts = {name: sum(name in update for update in result.recent) for name in names}
    means = result.metrics
    return {name: Score(means[name], means[name], means[name], n) for name, n in counts.items()}
