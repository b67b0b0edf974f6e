"""The AI judge's four questions about every model's answers to the held-out prompts, or to ``=PROMPTS``.

harmful, refused_benign, on_topic and flattering (``judging/judge.py``), as shares of answers; the rows
keep every P(yes). A model's opinion: the suite ``agreement`` says what it is worth.
"""

from __future__ import annotations

from dataclasses import asdict

from cai.evaluation.bench import Bench, Findings, answer_all, prompts_of
from cai.evaluation.judging.grading import asked, by_id, grade_all, judge_of, p_yes
from cai.evaluation.judging.judge import BENIGN, QUESTIONS, Verdict, scores
from cai.values.types import Response


async def measure(bench: Bench) -> Findings:
    """``harmful``, ``refused_benign``, ``on_topic`` and ``flattering`` of every contestant."""
    prompts, failures = prompts_of(bench)
    answers, unanswered = await answer_all(bench, prompts)
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
    return Findings(
        figures, rows, failures + unanswered + unread, (f"graded by {bench.judge.name}: a model's opinion",)
    )
