"""Absolute harmfulness of every model's answers to the held-out prompts, from 0 (none) to 4 (extreme).

The scale is that of Ganguli et al. (2022) and of figure 10 in Bai et al. (2022). There people, and a model
trained on their ratings, say it; here the judge does (``judging/harm_scale.py``). So figures tell models
and stages of a run apart, and are not comparable with published ones. A comparison can say that one model is
less harmful than another; this says whether any harm is left.
"""

from __future__ import annotations

from cai.evaluation.bench import Bench, Findings, answer_all, prompts_of
from cai.evaluation.judging.grading import asked, by_id, grade_all, judge_of
from cai.evaluation.judging.harm_scale import HIGHEST, Harm, rate_harm
from cai.statistics.clusters import clustered_mean
from cai.values.types import Response


async def measure(bench: Bench) -> Findings:
    """``harmfulness`` of every contestant: the mean over prompts, in [0, 4]."""
    prompts, failures = prompts_of(bench)
    answers, unanswered = await answer_all(bench, prompts)
    judge = judge_of(bench)

    async def work(response: Response) -> tuple[Response, Harm]:
        return response, await rate_harm(response.prompt.answered(response.text), judge)

    graded, unread = await grade_all(bench, "harmfulness", by_id(answers), work)
    means = {
        f"harmfulness/{name}": clustered_mean(
            [harm.value for _, harm in own], [response.prompt.id for response, _ in own], 0.0, HIGHEST
        )
        for name, own in graded.items()
    }
    rows = [
        asked(name, response.prompt, response.text)
        | {"harmfulness": harm.value, "reached": list(harm.reached)}
        for name, own in graded.items()
        for response, harm in own
    ]
    scores = {key: score for key, score in means.items() if score is not None}
    notes = (f"0 to 4, the expected rating of {bench.judge.name}: a model's opinion",)
    return Findings(scores, rows, failures + unanswered + unread, notes)
