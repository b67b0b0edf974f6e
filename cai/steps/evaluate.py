"""The steps that say what changed: base, SFT model and policy answer the held-out prompts.

Pocket prompts are graded by the pocket world's oracle, all others by the AI labeler as judge. Answering
and grading are two steps, so that grading loads its model once, after every model has answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from cai import models
from cai.config import ModelConfig
from cai.evaluation import judge
from cai.promptsets import load_prompts
from cai.runner import Results
from cai.stages.generate import generate
from cai.steps.run import Run, ask_all
from cai.tables import response_from, response_row
from cai.types import Failure, Prompt, Response, Score

Trained = Literal["base", "sft", "policy"]
#: Who is compared; metrics.json says ``eval/<suite>/<metric>/<stage>`` for each. best-of-n: steps/best.py.
STAGES: tuple[str, ...] = (*get_args(Trained), "best-of-n")

#: The suites of this proof, of which a run has one; any other name after ``eval/`` is of steps/suites.py.
PROOF = ("pocket", "judge")


def proof(metrics: Mapping[str, Score]) -> str | None:
    """Which suite graded a run; None where nothing was graded."""
    return next((name for name in PROOF if any(k.startswith(f"eval/{name}/") for k in metrics)), None)


def model_of(run: Run, stage: Trained) -> ModelConfig:
    """The model that plays ``stage``: the base model or one of the run's checkpoints."""
    return run.config.model if stage == "base" else models.trained(run.config, run.folder, stage)


async def step_answer(run: Run, stage: Trained) -> None:
    """Held-out prompts → eval_<stage>.parquet.

    All stages answer with the same seeds, so what differs between them is the weights.
    """
    results = await answers(run, stage)
    run.folder.write_table(f"eval_{stage}", map(response_row, results.done))
    run.folder.record_failures({f"answer-{stage}"}, results.failures)


async def answers(run: Run, stage: Trained) -> Results[Response]:
    """The answers of a stage's model to the held-out prompts: those of the journal, where it has answered."""
    engine, seed = run.models.engine(model_of(run, stage)), run.seed("evaluate")

    async def work(prompt: Prompt) -> Response:
        return await generate(prompt, engine, run.config.evaluate, seed)

    items = [(prompt.id, prompt) for prompt in load_prompts(run.config).held_out]
    return await ask_all(run, f"answer-{stage}", engine, items, work)


async def step_grade(run: Run) -> None:
    """eval_*.parquet → ``eval/…`` in metrics.json, for every stage that has answered.

    The tables get a column ``<suite>/<metric>`` for every figure, empty where it is not about the prompt, so
    that two stages can be compared prompt by prompt.
    """
    present = [stage for stage in STAGES if run.folder.table(f"eval_{stage}").exists()]
    suite = "pocket" if (run.config.evaluate.prompts or "").startswith("pocket:") else "judge"
    grade = _grade_by_oracle if suite == "pocket" else _grade_by_judge
    scores: dict[str, Score] = {}
    for stage in present:
        found, values = await grade(run, stage)
        scores |= {f"eval/{suite}/{metric}/{stage}": score for metric, score in found.items()}
        _keep_values(run, stage, suite, values)
    run.folder.record_metrics(scores, drop=f"eval/{suite}/")


Graded = tuple[dict[str, Score], dict[str, Mapping[str, float | bool]]]  # scores, and values by prompt id


async def _grade_by_oracle(run: Run, stage: str) -> Graded:
    from cai.evaluation import pocket

    answers = run.folder.read_table(f"eval_{stage}", response_from)
    scores = pocket.scores([(answer.prompt, answer.text) for answer in answers])
    return scores, {answer.prompt.id: pocket.values(answer.prompt, answer.text) for answer in answers}


async def _grade_by_judge(run: Run, stage: str) -> Graded:
    answers = run.folder.read_table(f"eval_{stage}", response_from)
    engine = run.models.engine(models.judge(run.config))

    async def work(answer: Response) -> tuple[str, judge.Verdict]:
        return answer.prompt.id, await judge.judge_answer(answer.prompt, answer.text, engine, run.templates)

    items = [(answer.prompt.id, answer) for answer in answers]
    results = await ask_all(run, f"grade-{stage}", engine, items, work)
    failures: list[Failure] = results.failures
    run.folder.record_failures({f"grade-{stage}"}, failures)
    scores = judge.scores([verdict for _, verdict in results.done])
    return scores, {prompt: judge.values(verdict) for prompt, verdict in results.done}


def _keep_values(run: Run, stage: str, suite: str, values: Mapping[str, Mapping[str, float | bool]]) -> None:
    names = sorted({name for of_prompt in values.values() for name in of_prompt})
    rows = []
    for answer in run.folder.read_table(f"eval_{stage}", response_from):
        own = values.get(answer.prompt.id, {})
        rows.append(response_row(answer) | {f"{suite}/{name}": own.get(name) for name in names})
    run.folder.write_table(f"eval_{stage}", rows)
