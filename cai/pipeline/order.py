"""The steps in order, nothing else. A step is a stage (a coroutine over one item) over a run folder.

The order of answering held-out prompts follows which model is loaded anyway: base beside the critic,
the SFT model beside sampling, the policy at the end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from cai.config.run_config import RunConfig
from cai.config.train_config import SECTIONS
from cai.pipeline.steps.best import step_best_answer, step_best_sample, step_best_select
from cai.pipeline.steps.evaluate import step_answer, step_grade
from cai.pipeline.steps.feedback import step_generate, step_label, step_revise, step_sample, step_select
from cai.pipeline.steps.mix import step_mix
from cai.pipeline.steps.monitor import step_monitor
from cai.pipeline.steps.rl import step_grpo, step_ppo, step_rloo
from cai.pipeline.steps.step import Run
from cai.pipeline.steps.suites import step_suites
from cai.pipeline.steps.train import step_best_sft, step_dpo, step_reward, step_sft
from cai.pipeline.steps.watch import step_watch
from cai.pipeline.steps.write_report import step_report

Step = Callable[[Run], Awaitable[None]]

STEPS: dict[str, Step] = {
    "generate": step_generate,
    "revise": step_revise,
    "answer-base": partial(step_answer, model="base"),
    "select": step_select,
    "sft": step_sft,
    "sample": step_sample,
    "answer-sft": partial(step_answer, model="sft"),
    "label": step_label,
    "mix": step_mix,
    "dpo": step_dpo,
    "reward": step_reward,
    "ppo": step_ppo,
    "grpo": step_grpo,
    "rloo": step_rloo,
    "best-sample": step_best_sample,
    "best-select": step_best_select,
    "best-sft": step_best_sft,
    "answer-best-of-n": step_best_answer,
    "answer-policy": partial(step_answer, model="policy"),
    "grade": step_grade,
    "watch": step_watch,
    "suites": step_suites,
    "monitor": step_monitor,
    "report": step_report,
}

SUPERVISED = ("generate", "revise", "answer-base", "select", "sft")
LABELS = ("sample", "answer-sft", "label", "mix")
SHOWN = ("answer-policy", "grade", "watch", "suites", "monitor", "report")
LEARN = {
    "dpo": ("dpo",),
    "ppo": ("ppo",),
    "grpo": ("grpo",),
    "rloo": ("rloo",),
    "best-of-n": ("best-sample", "best-select", "best-sft", "answer-best-of-n"),
}


def trained_sections(config: RunConfig) -> list[str]:
    """The sections of the trainings of a whole run."""
    return list(dict.fromkeys(SECTIONS[step] for step in steps_of(config) if step in SECTIONS))


def steps_of(config: RunConfig) -> list[str]:
    """The steps of a whole run. Labels and a reward model are made where the method learns from them."""
    needs_model = config.method != "dpo" and any(term.source == "model" for term in config.reward)
    labels = LABELS if config.method == "dpo" or needs_model else ("answer-sft",)
    reward = ("reward",) if needs_model else ()
    return [*SUPERVISED, *labels, *reward, *LEARN[config.method], *SHOWN]
