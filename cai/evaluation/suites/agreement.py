"""What the judge's opinion is worth: its four questions about answers that people have labelled.

No contestant is asked for answers. See ``evaluation/judging/labelled.py`` for the file and the figures.
"""

from __future__ import annotations

from cai.evaluation.bench import Bench, Findings
from cai.evaluation.items import read_items
from cai.evaluation.judging import labelled
from cai.evaluation.judging.grading import judge_of


async def measure(bench: Bench) -> Findings:
    """``<question>_{agreement,kappa,auc}/judge``.

    Raises:
        UsageError: no row of the file can be used.
    """
    items, failures = read_items(bench, labelled.NEEDED, labelled.answer_from)
    judge = judge_of(bench)

    async def work(item: labelled.Labelled) -> labelled.Judged:
        return await labelled.ask(item, judge)

    named = [(item.prompt.id, item) for item in items]
    results = await bench.each("judge: labelled answers", bench.judge_engine(), named, work)
    figures = {f"{metric}/judge": score for metric, score in labelled.figures(results.done).items()}
    notes = (f"{bench.judge.name} against {len(results.done)} answers that people have labelled",)
    return Findings(figures, [labelled.row(one) for one in results.done], failures + results.failures, notes)
