"""The labeler's own score of one response, without a reward model in between.

Direct RLAIF (Lee et al. 2023, arXiv 2309.00267, "Direct-RLAIF"): they ask for a rating from 1 to 10 and
take its expectation under the labeler's probabilities. Here the question is whether the response follows
a principle, and the reward is P(Yes), normalised over "Yes" and "No": in [0, 1], and read as labels are
(``stages/judge_reading.py``): below the floor on the options' mass there is none. A response that says
nothing (``stages/degenerate.py``) has the lowest reward, by rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from cai.constitution.load import Constitution, Principle, draw_many
from cai.constitution.templates import Templates
from cai.engines.engine import Engine
from cai.rewards.reward import Scored
from cai.run.journal import digest
from cai.run.runner import run_items
from cai.stages.degenerate import degenerate
from cai.stages.judge_reading import Judging, p_yes
from cai.values.errors import ItemError
from cai.values.types import Message, Response

NOTHING_SAID = 0.0  # by rule: what says nothing follows no principle; unscored, a policy could drift into it
_PROBE = (Message("system", "1"), Message("user", "2"), Message("assistant", "3"))


@dataclass(frozen=True, slots=True)
class JudgeReward:
    """``Reward`` of a constitution: the mean P(Yes) over ``principles`` drawn principles.

    ``bound``: responses that are asked about at the same time.
    """

    engine: Engine
    templates: Templates
    constitution: Constitution
    principles: int
    seed: int
    bound: int = 1024
    how: Judging = field(default_factory=Judging)
    name: str = "judge"

    @property
    def fingerprint(self) -> str:
        """The labeler, how it is read, the draw of principles, and what each is asked as, in its template."""
        asked = [(p.id, p.weight, self._question(_PROBE, p)) for p in self.constitution.principles]
        label = self.how.label
        read = (label.read, label.samples, label.stop_early, label.min_mass)
        return digest("judge 3", self.engine.fingerprint, self.principles, self.seed, asked, read)

    async def score(self, responses: Sequence[Response]) -> list[Scored]:
        """Raises EngineError when the labeler is broken."""
        items = [(f"{response.prompt.id}/{response.index}", response) for response in responses]
        bound = max(1, min(self.bound, len(items)))
        return (await run_items(self.name, items, self._score, bound=bound)).done

    def drawn(self, response: Response) -> list[Principle]:
        """The principles that ``response`` is judged under.

        They depend on the prompt alone. Best-of-n, GRPO and RLOO rank the responses to one prompt against
        each other, and a lenient principle for one and a strict one for another would rank the principles.
        Nor does a response's reward change from step to step.
        """
        return draw_many(self.constitution, self.principles, self.seed, response.prompt.id)

    async def _score(self, response: Response) -> Scored:
        if degenerate(response.text):
            return Scored(NOTHING_SAID)
        try:
            return Scored(fmean([await self._follows(response, p) for p in self.drawn(response)]))
        except ItemError as error:
            # Also when other principles could be read: their mean would not compare with the means of
            # the prompt's other responses, which were judged under all of them.
            return Scored(None, str(error))

    async def _follows(self, response: Response, principle: Principle) -> float:
        """P(the response follows the principle). Raises ItemError when it cannot be read."""
        question = self._question(response.prompt.answered(response.text), principle)
        try:
            return await p_yes(question, self.engine, self.how)
        except ItemError as error:
            detail = f"{principle.id}: {error.detail}" if error.detail else principle.id
            raise ItemError(error.reason, detail) from error

    def _question(self, conversation: tuple[Message, ...], principle: Principle) -> str:
        return self.templates.judge(conversation, self.templates.score(principle))
