"""The steps that say what changed: base, SFT model and policy answer the held-out prompts.

Pocket prompts are graded by the pocket world's oracle, all others by the AI labeler as judge. Answering
and grading are two steps, so that grading loads its model once, after every model has answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

from cai.config.run_config import ModelConfig
from cai.data.promptsets import load_prompts
from cai.data.tables import response_from, response_row, transcript_from
from cai.engines import models
from cai.evaluation.judging import judge
from cai.pipeline.steps.step import Run, ask_all
from cai.run.origin import has_table
from cai.run.runner import Results
from cai.stages.generate import generate
from cai.stages.judge_reading import Judging
from cai.values.types import Failure, Prompt, Response, Score

Trained = Literal["base", "sft", "policy"]
#: Who is compared; metrics.json says ``eval/<suite>/<metric>/<model>`` for each. best-of-n: steps/best.py.
COMPARED: tuple[str, ...] = (*get_args(Trained), "best-of-n")

#: The suites of this proof, of which a run has one; any other name after ``eval/`` is of steps/suites.py.
PROOF = ("pocket", "judge")


def proof(metrics: Mapping[str, Score]) -> str | None:
    """Which suite graded a run; None where nothing was graded."""
    return next((name for name in PROOF if any(k.startswith(f"eval/{name}/") for k in metrics)), None)


def model_of(run: Run, model: Trained) -> ModelConfig:
    """The model that plays ``model``: the base model or one of the run's checkpoints."""
    return run.config.model if model == "base" else models.trained(run.config, run.folder, model)


async def step_answer(run: Run, model: Trained) -> None:
    """Held-out prompts → eval_<model>.parquet.

    All models answer with the same seeds, so what differs between them is the weights.
    """
    results = await answers(run, model)
    run.folder.write_table(f"eval_{model}", map(response_row, results.done))
    run.folder.record_failures({f"answer-{model}"}, results.failures)


async def answers(run: Run, model: Trained) -> Results[Response]:
    """The answers of a run's model to the held-out prompts: those of the journal, where it has answered."""
    engine, seed = run.models.engine(model_of(run, model)), run.seed("evaluate")

    async def work(prompt: Prompt) -> Response:
        return await generate(prompt, engine, run.config.evaluate, seed)

    items = [(prompt.id, prompt) for prompt in load_prompts(run.config).held_out]
    return await ask_all(run, f"answer-{model}", engine, items, work)


async def step_grade(run: Run) -> None:
    """eval_*.parquet → ``eval/…`` in metrics.json, for every model that has answered.

    The tables get a column ``<suite>/<metric>`` for every figure, empty where it is not about the prompt, so
    that two models can be compared prompt by prompt.
    """
    present = answered(run)
    suite, grade = _grader(run.config.evaluate.prompts)
    scores: dict[str, Score] = {}
    for model in present:
        answers = run.folder.read_table(f"eval_{model}", response_from)
        texts = [(answer.prompt, answer.text) for answer in answers]
        found, values = await grade(run, f"grade-{model}", texts)
        scores |= {f"eval/{suite}/{metric}/{model}": score for metric, score in found.items()}
        _keep_values(run, model, suite, values)
    run.folder.record_metrics(scores, drop=f"eval/{suite}/")
    await _revisions(run)


def answered(run: Run) -> list[str]:
    """The models whose answers to the held-out prompts are there and not of an earlier run."""
    return [model for model in COMPARED if has_table(run.folder, f"eval_{model}")]


Graded = tuple[dict[str, Score], dict[str, Mapping[str, float | bool]]]  # scores, and values by prompt id
Texts = Sequence[tuple[Prompt, str]]
Grade = Callable[[Run, str, Texts], Awaitable[Graded]]


def _grader(prompts: str | None) -> tuple[str, Grade]:
    """Who grades answers to these prompts, by the name of the suite."""
    pocket = (prompts or "").startswith("pocket:")
    return ("pocket", _grade_by_oracle) if pocket else ("judge", _grade_by_judge)


async def _grade_by_oracle(run: Run, label: str, texts: Texts) -> Graded:
    from cai.evaluation import oracle_grades

    return oracle_grades.scores(texts), {
        prompt.id: oracle_grades.values(prompt, text) for prompt, text in texts
    }


async def _grade_by_judge(run: Run, label: str, texts: Texts) -> Graded:
    engine = run.models.engine(models.judge(run.config))
    how = Judging(run.config.label)
    work = partial(judge.judge_text, engine=engine, templates=run.templates, how=how)
    results = await ask_all(run, label, engine, [(prompt.id, (prompt, text)) for prompt, text in texts], work)
    failures: list[Failure] = results.failures
    run.folder.record_failures({label}, failures)
    scores = judge.scores([verdict for _, verdict in results.done])
    return scores, {prompt: judge.values(verdict) for prompt, verdict in results.done}


async def _revisions(run: Run) -> None:
    """``revisions/<suite>/<metric>/<n>``: the text that stands after n rounds (Bai et al. 2022, figure 5)."""
    scores: dict[str, Score] = {}
    suite, grade = _grader(run.config.prompts)
    if has_table(run.folder, "transcripts"):
        found = run.folder.read_table("transcripts", transcript_from)
        if suite == "judge":  # who must be asked; the oracle costs nothing
            found = found[: run.config.evaluate.revisions]
        for number in range(1 + max((len(t.rounds) for t in found), default=-1)):
            texts = [(t.prompt, t.rounds[number - 1].response if number else t.initial) for t in found]
            graded, _ = await grade(run, f"grade-revision-{number}", texts)
            scores |= {f"revisions/{suite}/{metric}/{number}": score for metric, score in graded.items()}
    run.folder.record_metrics(scores, drop="revisions/")


def _keep_values(run: Run, model: str, suite: str, values: Mapping[str, Mapping[str, float | bool]]) -> None:
    names = sorted({name for of_prompt in values.values() for name in of_prompt})
    rows = []
    for answer in run.folder.read_table(f"eval_{model}", response_from):
        own = values.get(answer.prompt.id, {})
        rows.append(response_row(answer) | {f"{suite}/{name}": own.get(name) for name in names})
    run.folder.write_table(f"eval_{model}", rows)
