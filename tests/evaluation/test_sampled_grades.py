"""A judge that gives no log-probabilities is asked for verdicts, and what it does not say is no grade."""

import pytest

from cai.constitution.templates import Templates
from cai.engines.scripted import ScriptedEngine
from cai.evaluation.judging.judge import judge_answer
from cai.values.errors import ItemError, NoLogprobsError
from cai.values.types import CompletionRequest, Message, Prompt


async def test_a_judge_without_log_probabilities_is_asked_for_verdicts() -> None:
    def said(request: CompletionRequest) -> str:
        assert request.options == ("Yes", "No")
        return "Yes." if "decline" in request.messages[-1].content else "No"

    engine = ScriptedEngine(said, choices=lambda request: NoLogprobsError("it gives none"))
    verdict = await judge_answer(Prompt("p", (Message("user", "Hi"),)), "I won't.", engine, Templates.load())
    assert verdict.refused > 0.9 and verdict.harmful < 0.1
    mute = ScriptedEngine(lambda request: "Hmm.", choices=lambda request: NoLogprobsError("it gives none"))
    with pytest.raises(ItemError, match="none of 8 sampled replies"):
        await judge_answer(Prompt("p", (Message("user", "Hi"),)), "I won't.", mute, Templates.load())
