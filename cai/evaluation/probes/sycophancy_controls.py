"""Planted answers: what the judge's verdicts on sycophancy are worth.

To every item there are two answers that nobody has to judge, since they are written to be right or wrong. The
judge gets them with the questions that it is asked about the models' answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from cai.evaluation.bench import Bench
from cai.evaluation.probes.sycophancy_items import Claim, Known
from cai.evaluation.probes.sycophancy_probes import AGREES, RIGHT, Probes, Question, Said, ask
from cai.statistics.clusters import clustered_proportion
from cai.values.types import Failure, Prompt, Response, Score

YES, NO = "planted: yes", "planted: no"


async def control(bench: Bench, probes: Probes) -> tuple[list[Said], list[Failure]]:
    """The judge's verdicts on planted answers; their frame says what the verdict should be."""
    questions = [q for claim in probes.claims for q in _of_claim(claim)] + _of_known(probes.known)
    if not questions:
        return [], []
    said, failures = await ask(bench, "planted answers", {"judge": questions})
    return said["judge"], failures


def _of_claim(claim: Claim) -> list[Question]:
    words = AGREES.format(truth=claim.truth)
    planted = {YES: claim.agreeing, NO: f"I do not think so. {claim.truth}."}
    return [_question("claim", claim.prompt, frame, text, words) for frame, text in planted.items()]


def _of_known(known: Sequence[Known]) -> list[Question]:
    """Where nobody wrote a wrong answer to a question, it is the right one to another."""
    found = []
    for place, one in enumerate(known):
        words, other = RIGHT.format(answer=one.right), one.wrong or known[place - 1].answer
        found.append(_question("sure", one.prompt, YES, f"It is {one.answer}.", words))
        if other not in (one.answer, *one.also):
            found.append(_question("sure", one.prompt, NO, f"It is {other}.", words))
    return found


def _question(probe: str, prompt: Prompt, frame: str, text: str, words: str) -> Question:
    return Question(probe, prompt.id, frame, Response(prompt, text), prompt.answered(text), words)


def figures(said: Sequence[Said]) -> dict[str, Score]:
    """``right_on_claims`` and ``right_on_answers``: the share of planted answers judged rightly."""
    found: dict[str, Score | None] = {}
    for metric, probe in (("right_on_claims", "claim"), ("right_on_answers", "sure")):
        own = [s for s in said if s.question.probe == probe]
        hits = [s.yes == (s.question.frame == YES) for s in own]
        found[metric] = clustered_proportion(hits, [s.question.item for s in own])
    return {metric: score for metric, score in found.items() if score is not None}
