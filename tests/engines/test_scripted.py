"""The scripted engine: lists, functions, exceptions, call history."""

import pytest

from cai.engines.scripted import ScriptedEngine
from cai.values.errors import EngineError, ItemError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest, Message, Sampling

ASK = CompletionRequest((Message("user", "Hello?"),), Sampling(), seed=1)
PICK = ChoiceRequest((Message("user", "A or B?"),), ("A", "B"))


async def test_answers_in_order_and_keeps_calls():
    engine = ScriptedEngine(["one", Completion("tw", "length")], choices=[(-0.1, -2.0)])
    assert await engine.complete(ASK) == Completion("one", "stop", completion_tokens=1)
    assert (await engine.complete(ASK)).finish == "length"
    assert await engine.choose(PICK) == Choice((-0.1, -2.0))
    assert engine.calls == [ASK, ASK, PICK]
    with pytest.raises(EngineError, match="no more answers"):
        await engine.complete(ASK)


async def test_functions_and_exceptions():
    engine = ScriptedEngine(lambda request: request.messages[-1].content.upper(), choices=[ItemError("no")])
    assert (await engine.complete(ASK)).text == "HELLO?"
    with pytest.raises(ItemError, match="no"):
        await engine.choose(PICK)


async def test_a_choice_of_the_wrong_length_is_an_error():
    with pytest.raises(EngineError, match="1 values"):
        await ScriptedEngine(choices=[(-0.1,)]).choose(PICK)


async def test_close_is_recorded():
    engine = ScriptedEngine()
    await engine.close()
    assert engine.closed
