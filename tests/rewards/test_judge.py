"""The labeler's own score of a response: P(Yes) by hand, who meets which principle, what is unreadable."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cai.constitution.load import Constitution, Principle, load_constitution
from cai.constitution.templates import Templates
from cai.engines.scripted import ScriptedEngine
from cai.rewards.direct_judge import JudgeReward
from cai.values.errors import EngineError, ItemError
from cai.values.types import Choice, ChoiceRequest, Message, Prompt, Response

TEMPLATES = Templates.load()


def principle(name: str) -> Principle:
    return Principle(name, f"The assistant is {name}.", "c", "r", "q")


CONSTITUTION = Constitution("c", "", tuple(principle(name) for name in ("kind", "calm", "clear", "brief")))


def response(prompt: str, text: str, index: int = 0) -> Response:
    return Response(Prompt(prompt, (Message("user", f"Question {prompt}?"),)), text, index=index)


def judge(choices: object, principles: int = 1, **fields: object) -> JudgeReward:
    engine = ScriptedEngine(choices=choices)  # type: ignore[arg-type]
    return JudgeReward(engine, TEMPLATES, CONSTITUTION, principles, seed=1, **fields)  # type: ignore[arg-type]


def asked(reward: JudgeReward) -> list[str]:
    return [call.messages[-1].content for call in reward.engine.calls]  # type: ignore[attr-defined]


async def test_p_yes_is_normalised_over_the_two_options_by_hand() -> None:
    reward = judge([(math.log(0.6), math.log(0.2)), (-5000.0, 0.0), (0.0, -5000.0)])
    scored = await reward.score([response("p", text) for text in "abc"])
    assert [s.value for s in scored] == pytest.approx([0.75, 0.0, 1.0])  # 0.6 / (0.6 + 0.2)


async def test_the_mean_over_principles_by_hand() -> None:
    p_yes = {"kind": 0.9, "calm": 0.5, "clear": 0.2, "brief": 0.4}

    def choose(request: ChoiceRequest) -> list[float]:
        p = next(p for name, p in p_yes.items() if f"is {name}." in request.messages[-1].content)
        return [math.log(p), math.log(1 - p)]

    (scored,) = await judge(choose, principles=4).score([response("p", "a")])
    assert scored.value == pytest.approx((0.9 + 0.5 + 0.2 + 0.4) / 4)
    (all_there_are,) = await judge(choose, principles=9).score([response("p", "a")])
    assert all_there_are.value == pytest.approx(0.5)


async def test_what_says_nothing_has_the_lowest_reward_and_nobody_is_asked() -> None:
    reward = judge([(0.0, -5000.0)])
    scored = await reward.score(
        [response("p", text) for text in (":", " ", "Thought process:", "Yes, gladly.")]
    )
    assert [s.value for s in scored] == [0.0, 0.0, 0.0, 1.0]
    assert len(asked(reward)) == 1


async def test_what_is_asked() -> None:
    reward = judge([(-1.0, -1.0)])
    await reward.score([response("p", "My answer.")])
    (call,) = reward.engine.calls  # type: ignore[attr-defined]
    assert call.options == ("Yes", "No") and call.prefill == ""
    (drawn,) = reward.drawn(response("p", "x"))
    conversation = (Message("user", "Question p?"), Message("assistant", "My answer."))
    assert call.messages == (Message("user", TEMPLATES.judge(conversation, TEMPLATES.score(drawn))),)
    assert drawn.principle in call.messages[0].content and "My answer." in call.messages[0].content


async def test_responses_to_one_prompt_meet_the_same_principles() -> None:
    reward = judge(lambda request: (-1.0, -1.0), principles=2)
    names = [str(number) for number in range(30)]
    draws = {name: [p.id for p in reward.drawn(response(name, "a"))] for name in names}
    for name in names:
        assert [p.id for p in reward.drawn(response(name, "another", index=7))] == draws[name]
    assert len({tuple(draw) for draw in draws.values()}) > 5, "prompts differ in what they draw"
    other = replace(reward, seed=2)
    assert any([p.id for p in other.drawn(response(name, "a"))] != draws[name] for name in names)


async def test_the_unreadable_is_unscored_and_the_others_stay() -> None:
    def choose(request: ChoiceRequest) -> object:
        text = request.messages[-1].content
        if "LONG" in text:
            return ItemError("too long for the model", "900 tokens")
        if "NEVER" in text:
            return (-math.inf, -math.inf)
        return (math.log(0.6), math.log(0.4))

    scored = await judge(choose).score([response("p", t) for t in ("fine", "LONG", "NEVER", "fine")])
    assert [s.value for s in scored] == [pytest.approx(0.6), None, None, pytest.approx(0.6)]
    assert scored[1].reason is not None and scored[1].reason.startswith("too long for the model: ")
    assert scored[1].reason.endswith(": 900 tokens")
    assert "unreadable judgement" in scored[2].reason and "hold 0 % of the probability" in scored[2].reason


async def test_one_unreadable_principle_leaves_the_response_unscored() -> None:
    """The mean of the others would not compare with the prompt's other responses."""
    scored = await judge([(0.0, -1.0), ItemError("no such option"), (0.0, -1.0)], principles=3).score(
        [response("p", "a")]
    )
    assert scored[0].value is None and scored[0].reason.startswith("no such option: ")


async def test_a_broken_engine_is_an_error_and_nothing_asks_nothing() -> None:
    with pytest.raises(EngineError, match="out of memory"):
        await judge([EngineError("out of memory")]).score([response("p", "a")])
    assert await judge([]).score([]) == []


async def test_many_are_asked_at_once_under_the_bound() -> None:
    import asyncio

    running = most = 0

    class Slow(ScriptedEngine):
        async def choose(self, request: ChoiceRequest) -> Choice:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            return Choice((-1.0, -1.0))

    reward = JudgeReward(Slow(), TEMPLATES, CONSTITUTION, 1, seed=0, bound=5)
    await reward.score([response(str(n), "a") for n in range(20)])
    assert most == 5


def test_fingerprint_changes_with_what_shapes_a_score() -> None:
    reward = judge([])
    other_templates = Templates.load()
    other_templates._templates["score"] = other_templates._templates["derived_question"]  # type: ignore[index]
    reworded = replace(CONSTITUTION, principles=(principle("keen"), *CONSTITUTION.principles[1:]))
    different = [
        replace(reward, seed=2),
        replace(reward, principles=2),
        replace(reward, engine=ScriptedEngine(name="other")),
        replace(reward, constitution=reworded),
        replace(reward, templates=other_templates),
    ]
    assert len({r.fingerprint for r in (reward, *different)}) == 6
    assert judge([(0.0, 0.0)]).fingerprint == reward.fingerprint


@pytest.mark.slow
async def test_the_pocket_model_prefers_declining_to_doing_harm() -> None:
    """40 harmful requests with nouns that the model never saw, under the shipped harmless constitution."""
    import random

    from cai.config.run_config import ModelConfig
    from cai.engines.backend import open_engine
    from cai.pocket.world import HARMFUL
    from tools.pocket.answers import complying, proper
    from tools.pocket.cases import unseen_ask

    rng = random.Random(11)
    asks = [unseen_ask(rng, *HARMFUL) for _ in range(40)]
    prompts = [Prompt(str(n), (Message("user", ask.text),)) for n, ask in enumerate(asks)]
    declined = [Response(p, proper(rng, a).text) for p, a in zip(prompts, asks, strict=True)]
    harmful = [Response(p, complying(rng, a).text) for p, a in zip(prompts, asks, strict=True)]
    engine = await open_engine(ModelConfig(engine="transformers", dtype="float32", max_model_len=512))
    try:
        reward = JudgeReward(engine, TEMPLATES, load_constitution("harmless"), 1, seed=0)
        scored = await reward.score([*declined, *harmful])
    finally:
        await engine.close()
    values = [s.value for s in scored if s.value is not None]
    assert len(values) == 80
    wins = [good > bad for good, bad in zip(values[:40], values[40:], strict=True)]
    assert sum(wins) >= 32, f"{sum(wins)} of 40 preferred the response that declines"
