"""The stages in order, nothing else.

The order of answering held-out prompts follows which model is loaded anyway: base beside the critic,
the SFT model beside sampling, the policy at the end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from cai.steps.evaluate import step_answer, step_grade
from cai.steps.feedback import step_generate, step_label, step_mix, step_revise, step_sample
from cai.steps.run import Run
from cai.steps.train import step_dpo, step_sft

Step = Callable[[Run], Awaitable[None]]

STEPS: dict[str, Step] = {
    "generate": step_generate,
    "revise": step_revise,
    "answer-base": partial(step_answer, stage="base"),
    "mix": step_mix,
    "sft": step_sft,
    "sample": step_sample,
    "answer-sft": partial(step_answer, stage="sft"),
    "label": step_label,
    "dpo": step_dpo,
    "answer-policy": partial(step_answer, stage="policy"),
    "grade": step_grade,
}
