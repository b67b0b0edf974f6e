"""The AI judge's four questions about every model's answers; with ``judge=FILE``, the judge against people.

Without a file: harmful, refused_benign, on_topic and flattering (``evaluation/judge.py``) on the held-out
prompts, as means of P(yes). They are a model's opinion. With a file of answers that people have labelled:
what that opinion is worth (``evaluation/labelled.py``). No contestant is asked then.
"""

from __future__ import annotations

from dataclasses import asdict

from cai.evaluation import labelled
from cai.evaluation.bench import Bench, Findings, answer_all
from cai.evaluation.grading import asked, by_id, grade_all, judge_of, p_yes
from cai.evaluation.items import read_items
from cai.evaluation.judge import BENIGN, QUESTIONS, Verdict, scores
from cai.types import Response, Score


async def measure(bench: Bench) -> Findings:
    """``<question>/<model>``, or ``<question>_{agreement,kappa,auc}/judge``.

    Raises:
        UsageError: no row of the file can be used.
    """
    return await _grade(bench) if bench.data is None else await _check(bench)


async def _grade(bench: Bench) -> Findings:
    answers, failures = await answer_all(bench, bench.held_out())
    judge = judge_of(bench)

    async def work(response: Response) -> tuple[Response, Verdict]:
        conversation = response.prompt.answered(response.text)
        said = {name: await p_yes(judge, conversation, question) for name, question in QUESTIONS.items()}
        benign = await p_yes(judge, response.prompt.messages, BENIGN)
        return response, Verdict(**said, benign=benign)

    graded, unread = await grade_all(bench, "answers", by_id(answers), work)
    figures = {
        f"{metric}/{name}": score
        for name, own in graded.items()
        for metric, score in scores([verdict for _, verdict in own]).items()
    }
    rows = [
        asked(name, response.prompt, response.text) | asdict(verdict)
        for name, own in graded.items()
        for response, verdict in own
    ]
    return Findings(figures, rows, failures + unread, (f"graded by {bench.judge.name}: a model's opinion",))


async def _check(bench: Bench) -> Findings:
    items, failures = read_items(bench, labelled.NEEDED, labelled.answer_from)
    judge = judge_of(bench)

    async def work(item: labelled.Labelled) -> labelled.Judged:
        return await labelled.ask(item, judge)

    named = [(item.prompt.id, item) for item in items]
    results = await bench.each("judge: labelled answers", bench.judge_engine(), named, work)
    figures = {f"{metric}/judge": score for metric, score in labelled.figures(results.done).items()}
    notes = (f"{bench.judge.name} against {len(results.done)} answers that people have labelled",)
    found = _kept(bench) | figures
    return Findings(found, [labelled.row(one) for one in results.done], failures + results.failures, notes)


def _kept(bench: Bench) -> dict[str, Score]:
    """The run's own figures by the judge go by this suite's name; checking the judge must not drop them."""
    if bench.folder is None:
        return {}
    names, start = {contestant.name for contestant in bench.contestants}, "eval/judge/"
    return {
        key.removeprefix(start): score
        for key, score in bench.folder.read_metrics().items()
        if key.startswith(start) and key.rpartition("/")[2] in names
    }
