"""Judges are read as labels are: a floor on the options' mass, verdicts without log-probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cai.config.run_config import LabelConfig
from cai.constitution.load import Constitution, Principle
from cai.constitution.templates import Templates
from cai.engines.scripted import ScriptedEngine
from cai.evaluation.judging.grading import Judge
from cai.evaluation.judging.harm_scale import rate_harm
from cai.evaluation.judging.rating import PREFILL, rate
from cai.rewards.direct_judge import JudgeReward
from cai.stages.judge_reading import Judging, number_in, p_yes
from cai.values.errors import ItemError, NoLogprobsError
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Prompt, Response

TALK = (Message("user", "Hi?"), Message("assistant", "Yes."))
SAID = Response(Prompt("p", TALK[:1]), "Yes.")
PRINCIPLES = Constitution("c", "", (Principle("kind", "The assistant is kind.", "c", "r", "q"),))
TEMPLATES = Templates.load()


def mute(replies: Any) -> ScriptedEngine:
    """A judge that gives no log-probabilities."""
    return ScriptedEngine(replies, choices=lambda request: NoLogprobsError("it gives none"))


def how(**settings: Any) -> Judging:
    return Judging(LabelConfig(**settings))


class TestRating:
    async def test_without_log_probabilities_numbers_are_sampled(self) -> None:
        said = iter(["7)", "8)", "Rating: (7)", "**9**", "7/10)", "I cannot.", "7", "8"])
        engine = mute(lambda request: next(said))
        rating = await rate(TALK, (), engine, how=how(samples=8))
        assert rating.value == pytest.approx((7 + 8 + 7 + 9 + 7 + 7 + 8) / 7)
        assert rating.carried == pytest.approx(7 / 8)
        asked = [call for call in engine.calls if isinstance(call, CompletionRequest)]
        assert len(asked) == 8 == len({call.seed for call in asked})
        assert asked[0].options == tuple(map(str, range(1, 11))) and asked[0].prefill == PREFILL

    async def test_a_judge_that_mostly_says_something_else_is_unreadable(self) -> None:
        said = iter(["7)", "Hm.", "Well.", "It is good."])
        with pytest.raises(ItemError, match="only 1 of 4 sampled replies are one of the numbers"):
            await rate(TALK, (), mute(lambda request: next(said)), how=how(samples=4))

    async def test_what_is_insisted_on_is_what_is_asked(self) -> None:
        with pytest.raises(NoLogprobsError):
            await rate(TALK, (), mute(lambda request: "7)"), how=how(read="logprobs"))
        engine = ScriptedEngine(lambda request: "7)", choices=lambda request: [0.0] * 10)
        assert (await rate(TALK, (), engine, how=how(read="samples", samples=2))).value == 7
        assert not any(isinstance(call, ChoiceRequest) for call in engine.calls)

    async def test_the_floor_is_that_of_labels(self) -> None:
        engine = ScriptedEngine(choices=lambda request: [math.log(0.02)] * 10)
        with pytest.raises(ItemError, match=r"probability of 0\.200 together"):
            await rate(TALK, (), engine, how=how())
        assert (await rate(TALK, (), engine, how=how(min_mass=0.1))).value == pytest.approx(5.5)

    async def test_log_probabilities_are_missed_once(self) -> None:
        engine, same = mute(lambda request: "3)"), how(samples=1)
        for _ in range(3):
            await rate(TALK, (), engine, how=same)
        assert sum(isinstance(call, ChoiceRequest) for call in engine.calls) == 1

    @pytest.mark.parametrize(
        ("reply", "number"),
        [
            *(("7", 7), ("(7)", 7), ("10)", 10), ("Rating: 4", 4), ("The rating is 4.", 4), ("8/10", 8)),
            *(("8 out of 10, because it is clear", 8), ("**5**\n\nIt is kind.", 5), ("Score = 2", 2)),
            *(("7.5", None), ("11", None), ("0", None), ("7 or 8", None), ("between 6 and 7", None)),
            *(("8/5", None), ("", None), ("good", None), ("17", None), ("1,000", None)),
        ],
    )
    def test_a_number_is_read_strictly(self, reply: str, number: int | None) -> None:
        assert number_in(reply, range(1, 11), PREFILL) == number

    def test_what_was_cut_off_may_have_gone_on(self) -> None:
        assert number_in("1", range(1, 11), PREFILL, cut_off=True) is None
        assert number_in("1)", range(1, 11), PREFILL, cut_off=True) == 1


class TestYesOrNo:
    async def test_the_floor_is_that_of_labels(self) -> None:
        options = [math.log(0.3), math.log(0.1)]
        with pytest.raises(ItemError, match=r"hold 40 % .*label\.min_mass is 0\.5"):
            await p_yes("?", ScriptedEngine(choices=[options]), Judging())
        assert await p_yes("?", ScriptedEngine(choices=[options]), how(min_mass=0.3)) == pytest.approx(0.75)

    async def test_temperature_and_thought_are_labels_own(self) -> None:
        engine = ScriptedEngine(choices=[[math.log(0.6), math.log(0.2)]])
        settings = how(temperature=5.0, chain_of_thought=True)
        assert await p_yes("?", engine, settings) == pytest.approx(0.75)

    async def test_how_harmful_an_answer_is(self) -> None:
        engine = mute(lambda r: "Yes" if "at least slightly" in r.messages[-1].content else "No")
        judge = Judge(engine, TEMPLATES, how(samples=16))
        assert 0.9 < (await rate_harm(TALK, judge)).value < 1.2
        with pytest.raises(ItemError):
            await rate_harm(TALK, Judge(mute(lambda r: "Hm."), TEMPLATES, how(samples=2)))


class TestReward:
    def reward(self, engine: ScriptedEngine, **settings: Any) -> JudgeReward:
        return JudgeReward(engine, TEMPLATES, PRINCIPLES, 1, seed=1, how=how(**settings))

    async def test_a_judge_in_the_tail_of_its_answer_gives_no_reward(self) -> None:
        (scored,) = await self.reward(ScriptedEngine(choices=[[-9.0, -12.0]])).score([SAID])
        assert scored.value is None and "the options hold" in scored.reason and "kind" in scored.reason
        (scored,) = await self.reward(ScriptedEngine(choices=[[-9.0, -12.0]]), min_mass=0.0).score([SAID])
        assert scored.value is None  # labels without a floor leave judges their own
        (scored,) = await self.reward(ScriptedEngine(choices=[[-2.0, -5.0]]), min_mass=0.0).score([SAID])
        assert scored.value is not None and scored.value > 0.9

    async def test_without_log_probabilities_verdicts_are_drawn(self) -> None:
        (scored,) = await self.reward(mute(lambda request: "Yes."), samples=4).score([SAID])
        assert scored.value == pytest.approx(4.5 / 5)
        (scored,) = await self.reward(mute(lambda request: "Hm."), samples=4).score([SAID])
        assert scored.value is None and "none of 4 sampled replies" in scored.reason

    def test_how_it_is_read_is_part_of_what_it_is(self) -> None:
        prints = {
            self.reward(mute(""), **settings).fingerprint
            for settings in ({}, {"read": "samples"}, {"samples": 4}, {"min_mass": 0.1}, {"few_shot": 0})
        }
        assert len(prints) == 4  # worked examples are a label's alone
