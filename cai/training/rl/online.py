"""GRPO (Shao et al. 2024) and RLOO (Ahmadian et al. 2024) from any reward, through TRL's trainers.

    job = GroupJob("rloo", "checkpoints/sft", prompts, score, GroupConfig(), Path("checkpoints/policy"), 0)
    result = train_group(job)

Each step draws ``group_size`` responses to each of ``prompts`` prompts from the newest weights, scores them
and makes one update. TRL's are advantages, losses, optimizer and loop; ours are the token ids of prompts, the
sampler, the reward with its penalties, the KL that is reported and guarded, and what lies on disk
(``online_trainers.py``). A step's responses are saved before they are learned from: run it again after a kill
and it goes on with the very same ones, in float32 on a CPU bit by bit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cai.chat.saved import announce
from cai.config.train_config import GroupConfig
from cai.engines.samplers.opening import open_early, open_sampler
from cai.training import quiet
from cai.training.checkpoint import Workspace
from cai.training.interrupt import stop_requests
from cai.training.result import Progress, Say, TrainingStopped, TrainResult, Watch, to_stderr
from cai.training.rl import rollouts as rolled
from cai.training.rl.rollouts import HALF_WRITTEN, Score, Task
from cai.training.updates.low_bits import drawn_by, merged, weights_of
from cai.values.errors import TrainingError
from cai.values.types import Prompt

# Means over all tokens of a step rather than over responses of unequal length, rewards whitened within a
# group, and weights per token between sampler and trainer, which TRL calls vLLM's.
GRPO = {
    "loss_type": "dapo",
    "scale_rewards": "group",
    "vllm_importance_sampling_mode": "token_truncate",
    "vllm_importance_sampling_clip_min": None,
}


@dataclass(frozen=True, slots=True)
class GroupJob:
    """What a training is made from.

    ``reward`` names the reward and everything that shapes its scores: another reward is another training.
    ``vllm``: arguments of the sampler's engine, which say where it is and no other policy.
    """

    method: Literal["grpo", "rloo"]
    policy: str
    prompts: Sequence[Prompt]
    score: Score
    config: GroupConfig
    out: Path
    seed: int
    reward: str = ""
    vllm: Mapping[str, Any] = field(default_factory=dict)


def train_group(
    job: GroupJob,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    say: Say = to_stderr,
) -> TrainResult:
    """Train ``job.policy`` to get a higher reward; the finished weights are in ``job.out``.

    ``history`` has the figures of every step, measured on its responses before they are learned from. A
    guard (``max_kl``, ``max_length_ratio``) ends the training before that: the weights are then those that
    drew the last responses, and the last entry says which guard it was (``stopped_by_max_kl`` = 1).

    Raises:
        TrainingError: no usable prompt, no scored response in a step, or figures that are not finite.
        TrainingStopped: ``should_stop`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise; SystemExit: SIGTERM or SIGHUP.
    """
    quiet.before_import()
    from cai.training.rl.ppo_state import rl_key

    key = rl_key(job.method, [job.policy], job.prompts, job.config, [str(job.seed), job.reward])
    workspace = Workspace(job.out, key, say)
    finished = workspace.finished()
    if finished is not None:
        return finished
    with quiet.quiet():
        return _train(job, workspace, Watch(progress, should_stop, say))


def _train(job: GroupJob, workspace: Workspace, watch: Watch) -> TrainResult:
    from cai.training.processes import launched
    from cai.training.saving import prove
    from cai.training.updates.loop import load_tokenizer

    tokenizer = load_tokenizer(job.policy)
    announce(tokenizer, job.policy, watch.say)
    tasks, failures = rolled.encode_tasks(tokenizer, job.prompts, job.config.max_prompt_tokens)
    longest = max(len(task.ids) for task in tasks) + job.config.max_tokens
    folder, kind = Path(job.policy), drawn_by(job.config)
    with (
        stop_requests(watch.should_stop) as stop,
        closing(open_early(kind, folder, longest, launched(), vllm=job.vllm)) as early,
    ):
        trainer = _trainer(job, workspace, tasks, Watch(watch.progress, stop, watch.say))
        run, config, processes = trainer.run, job.config, trainer.accelerator.num_processes
        if config.lora is not None:
            first = trainer.accelerator.is_main_process
            prove(trainer.model, tokenizer, job.policy, workspace, watch.say, write=first)
        run.sampler = open_sampler(
            kind, folder, trainer.model, longest, processes, vllm=job.vllm, early=early
        )
        try:
            _steps(job, trainer)
        finally:
            run.sampler.close()
    result = TrainResult(
        path=workspace.out,
        steps=len(run.history),
        rows=len(run.history) * config.prompts * config.group_size,
        tokens=run.spent.tokens,
        seconds=run.spent.seconds,
        history=tuple(run.history),
        failures=failures,
        adapter=workspace.out / "adapter" if config.lora else None,
    )
    _publish(job, trainer, tokenizer, result)
    return result


def _trainer(job: GroupJob, workspace: Workspace, tasks: Sequence[Task], watch: Watch) -> Any:
    """TRL's trainer with our model, settings and prompts."""
    import datasets

    from cai.training.device import settings, use_fast_attention
    from cai.training.noise import without_noise
    from cai.training.rl.online_trainers import TRAINERS, Run
    from cai.training.saving import prove
    from cai.training.updates.adapters import require_adaptable
    from cai.training.updates.borders import announce_border
    from cai.training.updates.loop import adapter, load_language_model, load_tokenizer

    config = job.config
    model = load_language_model(job.policy, weights_of(config, settings(config, 0).dtype))
    without_noise(model)
    peft_config = adapter(config.lora, task_type="CAUSAL_LM", lora_dropout=0.0)
    require_adaptable(model, peft_config, job.policy)
    announce_border(model.config, [len(task.ids) for task in tasks], watch.say, config.max_tokens)
    device = settings(config, sum(weight.numel() for weight in model.parameters()))
    tokenizer, first = load_tokenizer(job.policy), os.environ.get("RANK", "0") == "0"
    prove(model, tokenizer, job.policy, workspace, watch.say, write=first)
    longest = max(len(task.ids) for task in tasks) + config.max_tokens
    use_fast_attention(model, device, config.micro_batch_size, longest)
    picked = [
        rolled.tasks_of_step(len(tasks), step, config.prompts, job.seed) for step in range(config.steps)
    ]
    trainer, arguments = TRAINERS[job.method]
    return trainer(
        Run(config, job.seed, job.score, tasks, workspace, watch, device.dtype),
        model=model,
        args=arguments(output_dir=str(workspace.partial), **_arguments(job, device)),
        train_dataset=datasets.Dataset.from_dict({"prompt": [str(task) for step in picked for task in step]}),
        processing_class=tokenizer,  # its own: TRL gives it a padding token
        peft_config=peft_config,
    )


def _arguments(job: GroupJob, device: Any) -> dict[str, Any]:
    """Arguments of TRL's settings classes."""
    from cai.training.processes import launched

    config, grpo = job.config, job.method == "grpo"
    processes = launched()
    rows, left = divmod(config.prompts * config.group_size, processes)
    if left:
        raise TrainingError(
            f"prompts times group_size is {config.prompts * config.group_size} per step, which {processes} "
            "processes can't share equally; choose a multiple."
        )
    micro = max(size for size in range(1, min(config.micro_batch_size, rows) + 1) if rows % size == 0)
    return {
        **({**GRPO, "vllm_importance_sampling_clip_max": config.importance_cap} if grpo else {}),
        "use_cpu": device.kind == "cpu",
        "bf16": device.dtype.itemsize == 2,
        "gradient_checkpointing": device.gradient_checkpointing,
        "fp16": False,
        "max_steps": config.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": rows // micro,  # one update per step
        "num_generations": config.group_size,
        "max_completion_length": config.max_tokens,
        "temperature": config.temperature,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "max_grad_norm": config.max_grad_norm,
        "epsilon": config.clip,
        "beta": config.kl_coef or 1.0,  # 0 would mean that TRL keeps no reference to measure the KL against
        "disable_dropout": True,
        "shuffle_dataset": False,  # rollouts.tasks_of_step has shuffled
        "seed": job.seed % 2**32,  # what numpy takes
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",  # online_trainers.py saves
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **({"optim": "adamw_8bit"} if config.optimizer == "adamw_8bit" else {}),
    }


def _steps(job: GroupJob, trainer: Any) -> None:
    """From the newest checkpoint to the last step, a tripped guard, or a request to stop."""
    from transformers.trainer_callback import PrinterCallback

    from cai.training.rl.online_trainers import GuardTripped

    run = trainer.run
    trainer.remove_callback(PrinterCallback)
    # The first process alone looks: another would find what the first has meanwhile drawn again.
    whole = rolled.steps_on_disk(run.workspace) if trainer.accelerator.is_main_process else 0
    resumed = run.workspace.newest(at_most=trainer.agreed(whole))
    if resumed is not None:
        run.history.extend(resumed.history)
        run.earlier = resumed.spent
    try:
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed.folder))
    except GuardTripped:
        return
    steps = job.config.steps
    if run.stopped:
        raise TrainingStopped(
            f"{job.method} stopped after step {trainer.state.global_step} of {steps}; a checkpoint is saved. "
            "Run the same command again to go on from there."
        )
    if len(run.history) != steps:
        raise TrainingError("the training ended before its last step; run the same command again.")


def _publish(job: GroupJob, trainer: Any, tokenizer: Any, result: TrainResult) -> None:
    """Write weights, adapter, tokenizer and the rollouts of every step into the finished folder."""
    from cai.training.saving import save
    from cai.training.updates.loop import load_language_model, stored_dtype

    run, processes = trainer.run, trainer.accelerator
    processes.wait_for_everyone()  # until everybody has written the last rollouts
    if processes.is_main_process:
        folder = run.workspace.fresh("final")
        model = processes.unwrap_model(trainer.model)
        if hasattr(model, "merge_and_unload"):
            save(model, tokenizer, folder)
            model = merged(model, lambda: load_language_model(job.policy))
        save(model.to(stored_dtype(job.policy)), tokenizer, folder)
        shutil.copytree(run.workspace.mine("rollouts"), folder / "rollouts", ignore=HALF_WRITTEN)
        run.workspace.publish(folder, result.to_json())
    processes.wait_for_everyone()
