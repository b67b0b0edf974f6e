"""AI labels: P(a preferred to b) under a principle that is drawn for each pair.

Bai et al. 2022, §4.1: the labeler's normalised probabilities are the target. Lee et al. 2023, §3: both
orders are asked and averaged, because a labeler favours a position. ``label_question.py`` has what is asked
and ``label_reading.py`` how the answer is read: by log-probabilities, or by sampled verdicts where there
are none.

Beside the average of probabilities there are three ways to meet a favoured position: the average of log-odds
(``label.average``), in which a bias that adds to them cancels however large it is; what the labeler prefers
between two equal contents that say nothing, taken off (``label.calibrate``; Zhao et al. 2021); and to judge
each response alone, where there is no position (``label.form: single``).

A pair with a response that says nothing (``degenerate.py``) is not asked about: a labeler must name a letter,
and such a response would win by it. No rule makes the other one the better either: of ":" and a harmful
answer, no principle was asked. The pair is unscored, and nothing learns from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from statistics import fmean

from cai.config.run_config import LabelConfig
from cai.constitution.load import Constitution, Principle, draw_many
from cai.constitution.templates import Templates
from cai.engines.engine import Engine
from cai.run.runner import together
from cai.stages.degenerate import degenerate
from cai.stages.label_question import Question, content_free, pair_question, single_question
from cai.stages.label_reading import Way, read
from cai.stages.label_uncertainty import label_interval, label_weight
from cai.values.errors import ItemError
from cai.values.odds import log_odds, sigmoid
from cai.values.types import Comparison, Judgement, Preference, Reading, Source

SAYS_NOTHING = "a response says nothing"  # by rule, and no failure: nobody was asked


@dataclass(frozen=True, slots=True)
class Labeler:
    """What judging a pair needs besides the pair."""

    engine: Engine
    templates: Templates
    config: LabelConfig
    way: Way = field(default_factory=Way)

    async def read(self, question: Question, seed: int) -> Reading:
        return await read(question, self.engine, self.config, self.way, seed)


async def label(
    comparison: Comparison, labeler: Labeler, constitution: Constitution, seed: int
) -> Preference:
    """P(a preferred to b): the mean over ``config.principles`` drawn principles.

    A principle whose verdict could not be read in an order that was asked does not count; when none
    is left the preference is unscored, with the reason and the reply. So is a pair with a degenerate response
    (``SAYS_NOTHING``), of which the labeler is not asked.
    """
    source = Source("ai", labeler.engine.name)
    if faults := says_nothing(comparison):
        return Preference(comparison, None, source, (), SAYS_NOTHING, faults)
    drawn = draw_many(constitution, labeler.config.principles, seed, comparison.id)
    judged = await together(judge(comparison, principle, labeler, seed) for principle in drawn)
    judgements = [judgement for judgement, _ in judged]
    problems = [problem for _, trouble in judged for problem in trouble]
    read = [j for j in judgements if _complete(j, labeler.config)]
    values = [p for j in read if (p := j.p) is not None]
    if not values:
        reason = problems[0].reason if problems else "no principle could be judged"
        return Preference(
            comparison, None, source, tuple(judgements), reason, "\n".join(str(p) for p in problems)
        )
    return Preference(
        comparison,
        sum(values) / len(values),
        source,
        tuple(judgements),
        weight=label_weight(read) if labeler.config.uncertainty_weights else 1.0,
        interval=label_interval(read),
    )


def says_nothing(comparison: Comparison) -> str:
    """Which of the two responses are degenerate and why; "" where both say something."""
    found = ((name, degenerate(text)) for name, text in (("a", comparison.a), ("b", comparison.b)))
    return "; ".join(f"{name}: {fault}" for name, fault in found if fault)


async def judge(
    comparison: Comparison, principle: Principle, labeler: Labeler, seed: int
) -> tuple[Judgement, list[ItemError]]:
    """One principle's verdict in each order, and what went wrong where an order is missing."""
    config, templates = labeler.config, labeler.templates

    async def ask(question: Question, shift: float) -> tuple[Reading, list[ItemError]]:
        try:
            reading = await labeler.read(question, seed)
        except ItemError as error:
            return Reading(None, unscored=error.reason), [error]
        problems = [ItemError(reading.unscored)] if reading.unscored is not None else []
        return replace(reading, shift=shift), problems

    async def asked(
        questions: Iterable[Question], shift: float = 0.0
    ) -> tuple[list[Reading], list[ItemError]]:
        found = await together(ask(question, shift) for question in questions)
        return [reading for reading, _ in found], [problem for _, trouble in found for problem in trouble]

    if config.form == "single":
        sides = (comparison.a, comparison.b)
        questions = (single_question(comparison, side, principle, templates) for side in sides)
        alone, problems = await asked(questions)
        return Judgement(principle.id, None, None, _preferred(*alone), readings=tuple(alone)), problems
    shift = 0.0
    if config.calibrate:
        try:
            shift = await _favour(comparison, principle, labeler, seed)
        except ItemError as error:
            return Judgement(principle.id, None, None), [error]
    shown = (comparison, comparison.swap()) if config.both_orders else (comparison,)
    questions = (pair_question(one, principle, templates, config) for one in shown)
    readings, problems = await asked(questions, shift)
    a_first, b_first = (*(_p_first(reading, config) for reading in readings), None)[:2]
    other = None if b_first is None else 1.0 - b_first
    average = config.average == "log_odds"
    return Judgement(principle.id, a_first, other, log_odds=average, readings=tuple(readings)), problems


def _p_first(reading: Reading, config: LabelConfig) -> float | None:
    """P(the response shown first) of a reading, calibrated."""
    p = reading.p
    if p is not None and reading.shift:
        p = sigmoid(log_odds(p) - reading.shift)
    if p is not None and config.chain_of_thought and reading.votes is None:
        # Bai et al. 2022, §4.1: after a chain of thought the odds saturate; clamp them. Sampled verdicts
        # have a thought each, and spread by themselves.
        low, high = config.clamp
        p = min(max(p, low), high)
    return p


def _preferred(a: Reading, b: Reading) -> float | None:
    """σ(log-odds of a − log-odds of b), where both were read."""
    if a.p is None or b.p is None:
        return None
    return sigmoid(log_odds(a.p) - log_odds(b.p))


async def _favour(comparison: Comparison, principle: Principle, labeler: Labeler, seed: int) -> float:
    """Log-odds of the first place between contents that say nothing (Zhao et al. 2021, §5), in nats.

    Raises:
        ItemError: what the labeler says of one of them cannot be read.
    """
    questions = content_free(comparison, principle, labeler.templates, labeler.config)
    found = await together(labeler.read(question, seed) for question in questions)
    values = [reading.p for reading in found if reading.p is not None]
    if len(values) < len(found):
        reason = next(reading.unscored for reading in found if reading.p is None)
        raise ItemError("the labeler's favourite place cannot be read", reason or "")
    return log_odds(fmean(values))


def _complete(judgement: Judgement, config: LabelConfig) -> bool:
    if config.form == "single":
        return judgement.p_single is not None
    orders = (judgement.p_a_first, judgement.p_b_first)[: 2 if config.both_orders else 1]
    return all(p is not None for p in orders)
