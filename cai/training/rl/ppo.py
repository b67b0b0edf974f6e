"""Proximal policy optimisation from any reward.

    job = PPOJob("checkpoints/sft", prompts, score, PPOConfig(), Path("checkpoints/policy"), seed=0)
    result = train_ppo(job)

Every step draws responses from the newest weights, scores them, and learns from them (``ppo_learner.py``).
Run it again after a kill and it goes on, bit by bit: the step's rollouts are on disk, and all randomness
comes from (seed, step). Started by ``accelerate launch`` it trains on several processes, each with its part
of a step. Left out: models larger than one device's memory.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cai.chat.saved import announce
from cai.config.train_config import PPOConfig, RolloutConfig
from cai.engines.samplers.opening import open_early, open_sampler
from cai.engines.samplers.sampler import Sampler
from cai.training import quiet
from cai.training.checkpoint import Workspace
from cai.training.interrupt import stop_requests
from cai.training.processes import Processes, launched
from cai.training.result import (
    GUARD,
    NOTHING,
    Progress,
    Say,
    Spent,
    TrainingStopped,
    TrainResult,
    Watch,
    to_stderr,
)
from cai.training.rl import rollouts as rolled
from cai.training.rl.actors import load_actors
from cai.training.rl.advantages import KLController
from cai.training.rl.drift import require_following
from cai.training.rl.ppo_learner import Figures, Learner
from cai.training.rl.ppo_state import load_state, rl_key, save_state
from cai.training.rl.rollouts import HALF_WRITTEN, Rollout, Score, Task
from cai.training.save_clock import SaveClock
from cai.training.saving import prove, save
from cai.training.updates.borders import announce_border
from cai.training.updates.loop import load_language_model, load_tokenizer, stored_dtype
from cai.training.updates.low_bits import adam, drawn_by
from cai.values.errors import TrainingError
from cai.values.types import Failure, Prompt


@dataclass(frozen=True, slots=True)
class PPOJob:
    """What a training is made from. ``critic``: a reward model to start the critic from, or None.

    ``reward`` names the reward and everything that shapes its scores: another reward is another training.
    ``vllm``: arguments of the sampler's engine, which say where it is and no other policy.
    """

    policy: str
    prompts: Sequence[Prompt]
    score: Score
    config: PPOConfig
    out: Path
    seed: int
    reward: str = ""
    critic: str | None = None
    vllm: Mapping[str, Any] = field(default_factory=dict)


def train_ppo(
    job: PPOJob,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    say: Say = to_stderr,
) -> TrainResult:
    """Train ``job.policy`` to get a higher reward; the finished weights are in ``job.out``.

    ``history`` has the figures of every step. A guard (``max_kl``, ``max_length_ratio``) ends the training
    with the weights it has; the last entry then says which (``stopped_by_max_kl`` = 1).

    Raises:
        TrainingError: no usable prompt, no scored response in a step, or figures that are not finite.
        TrainingStopped: ``should_stop`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise; SystemExit: SIGTERM or SIGHUP.
    """
    quiet.before_import()
    models = [job.policy, *([job.critic] if job.critic else [])]
    key = rl_key("ppo", models, job.prompts, job.config, [str(job.seed), job.reward])
    workspace = Workspace(job.out, key, say)
    finished = workspace.finished()
    if finished is not None:
        return finished
    with quiet.quiet():
        return _train(job, workspace, Watch(progress, should_stop, say))


@dataclass(frozen=True, slots=True)
class Session:
    """A training under way."""

    job: PPOJob
    workspace: Workspace
    learner: Learner
    tokenizer: Any
    tasks: Sequence[Task]
    sampler: Sampler


def _train(job: PPOJob, workspace: Workspace, watch: Watch) -> TrainResult:
    tokenizer = load_tokenizer(job.policy)
    announce(tokenizer, job.policy, watch.say)
    tasks, failures = rolled.encode_tasks(tokenizer, job.prompts, job.config.max_prompt_tokens)
    lengths = [len(task.ids) for task in tasks]
    longest = max(lengths) + job.config.max_tokens
    folder, kind = Path(job.policy), drawn_by(job.config)
    with closing(open_early(kind, folder, longest, launched(), vllm=job.vllm)) as early:
        learner = _learner(job, tokenizer, max(lengths), workspace, watch.say)
        if job.config.prompts % learner.processes.count:
            raise TrainingError(
                f"prompts is {job.config.prompts} per step, which {learner.processes.count} processes can't "
                "share equally; choose a multiple."
            )
        policy, count = learner.actors.policy, learner.processes.count
        announce_border(policy.config, lengths, watch.say, job.config.max_tokens)
        with stop_requests(watch.should_stop) as stop:
            sampler = open_sampler(kind, folder, policy, longest, count, vllm=job.vllm, early=early)
            session = Session(job, workspace, learner, tokenizer, tasks, sampler)
            try:
                spent = _steps(session, watch, stop)
            finally:
                sampler.close()
            return _finish(session, failures, spent)


def _learner(job: PPOJob, tokenizer: Any, longest_prompt: int, workspace: Workspace, say: Say) -> Learner:
    config = job.config
    processes = Processes.here()  # before a model is loaded: it chooses this process's device
    # The kind of attention is chosen by the longest prompt that there is, not that there might be.
    shaped = config.model_copy(update={"max_prompt_tokens": longest_prompt})

    def ready(policy: Any) -> None:
        prove(policy, tokenizer, job.policy, workspace, say, write=processes.first)

    actors = load_actors(job.policy, job.critic, shaped, job.seed, ready)
    # The learner sets each step's rates.
    groups = [{"params": actors.policy_parameters}, {"params": actors.critic_parameters}]
    optimizer = adam(config, groups, eps=1e-5)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    controller = KLController(config.kl_coef, config.kl_target, config.kl_horizon)
    return Learner(actors, optimizer, config, int(pad), job.seed, processes, controller)


def _steps(s: Session, watch: Watch, stop: Callable[[], bool]) -> Spent:
    """From the newest checkpoint to the last step, a tripped guard, or a request to stop. → the cost."""
    config, learner, started = s.job.config, s.learner, time.monotonic()
    first, earlier = _resume(s)
    clock = SaveClock(config)

    def spent() -> Spent:
        return earlier + Spent(learner.tokens, time.monotonic() - started)

    for step in range(first, config.steps):
        rollouts = _rollouts(s, step)
        figures = learner.learn(step, rollouts, s.tasks)
        guard = tripped(config, figures, learner.history)
        if guard is not None:
            figures[GUARD + guard] = 1.0
        learner.history.append(figures)
        learner.adapt(figures)
        if watch.progress is not None and learner.processes.first:
            speed = learner.tokens / max(time.monotonic() - started, 1e-9)
            more = {"tokens": float(learner.tokens), "tokens_per_second": speed}
            watch.progress(step + 1, config.steps, {**figures, **more})
        last = guard is not None or step + 1 == config.steps
        stopped = not last and learner.processes.any(stop())
        if learner.processes.first and (stopped or (not last and clock.due(step + 1))):
            state = (learner.parameters, learner.optimizer, learner.history)
            save_state(s.workspace, step + 1, *state, spent=spent())
            clock.saved()
        if stopped:
            raise TrainingStopped(
                f"PPO stopped after step {step + 1} of {config.steps}; a checkpoint is saved. "
                "Run the same command again to go on from there."
            )
        if guard is not None:
            break
    return spent()


def _resume(s: Session) -> tuple[int, Spent]:
    """Load the newest checkpoint, if any. → the step to go on with, and what came before it has cost."""
    processes = s.learner.processes
    # The first alone looks: another would find what the first has meanwhile drawn again.
    whole = rolled.steps_on_disk(s.workspace) if processes.first else 0
    saved = s.workspace.newest(at_most=int(processes.sum(torch.tensor(float(whole)))))
    if saved is None:
        return 0, NOTHING
    load_state(saved.folder, s.learner.parameters, s.learner.optimizer)
    for figures in saved.history:
        s.learner.history.append(figures)
        s.learner.adapt(figures)
    return saved.step, saved.spent


def _rollouts(s: Session, step: int) -> list[Rollout]:
    """This process's responses of a step: those on disk, else new ones from the newest weights."""
    config, processes = s.job.config, s.learner.processes
    place = rolled.Place(step, processes.rank, processes.count)
    found = rolled.load(s.workspace, place)
    if found is None:
        s.sampler.sync(s.learner.actors.policy)
        picked = rolled.tasks_of_step(len(s.tasks), step, config.prompts, s.job.seed)
        wanted = [rolled.Wanted(step * config.prompts + i, picked[i]) for i in processes.mine(len(picked))]
        tasks, actors = [s.tasks[w.task] for w in wanted], s.learner.actors
        draws = rolled.draw(s.sampler, tasks, wanted, config, s.job.seed)
        require_following(
            s.sampler, actors.policy, [task.ids for task in tasks], draws,
            temperature=config.temperature, dtype=actors.device.dtype, step=step,
        )  # fmt: skip
        found = rolled.scored(draws, wanted, s.tasks, s.tokenizer, rolled.Rate(s.job.score, config))
        rolled.save(s.workspace, place, found)
    return found


def tripped(config: RolloutConfig, figures: Figures, history: Sequence[Figures]) -> str | None:
    """The guard that ends the training after a step with these figures; None when all is well."""
    if config.max_kl is not None and figures["kl"] > config.max_kl:
        return "max_kl"
    first = history[0]["length"] if history else figures["length"]
    ratio, limit = figures["length"] / first if first else 1.0, config.max_length_ratio
    if limit is not None and not 1 / limit <= ratio <= limit:
        return "max_length_ratio"
    return None


def _finish(s: Session, failures: Sequence[Failure], spent: Spent) -> TrainResult:
    """Publish the weights, with the rollouts of every step beside them."""
    history = s.learner.history
    result = TrainResult(
        path=s.workspace.out,
        steps=len(history),
        rows=len(history) * s.job.config.prompts,
        tokens=spent.tokens,
        seconds=spent.seconds,
        history=tuple(history),
        failures=tuple(failures),
    )
    s.learner.processes.wait()  # until everybody has written the last rollouts
    if s.learner.processes.first:
        folder = s.workspace.fresh("final")
        policy = s.learner.actors.merged(lambda: load_language_model(s.job.policy))
        save(policy.to(stored_dtype(s.job.policy)), s.tokenizer, folder)
        shutil.copytree(s.workspace.mine("rollouts"), folder / "rollouts", ignore=HALF_WRITTEN)
        s.workspace.publish(folder, result.to_json())
    s.learner.processes.wait()
    return result
