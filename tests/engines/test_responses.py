"""OpenAI's Responses API as critic and labeler, against a stub that refuses what the API refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from cai.config.run_config import BudgetConfig, LabelConfig, ModelConfig, PriceConfig, ReviseConfig
from cai.constitution.load import Constitution, Principle
from cai.constitution.templates import Templates
from cai.engines.backend import base_url, fingerprint, on_a_server
from cai.engines.hosted.protocols import server_engine
from cai.engines.hosted.responses import ResponsesEngine, as_payload
from cai.engines.models import Models
from cai.engines.purse import Purse
from cai.run import spending
from cai.run.journal import Journal
from cai.stages.label import Labeler, label
from cai.stages.revise import Critic, revise
from cai.values.errors import EngineError, ItemError, NoLogprobsError
from cai.values.types import (
    ChoiceRequest,
    Comparison,
    CompletionRequest,
    Message,
    Prompt,
    Response,
    Sampling,
)
from tests.engines.client_stub import QUICK, Script, Stub, serving
from tests.engines.responses_stub import counts, error, message, response
from tests.engines.server_stubs import ResponsesProvider, p_first, truth

KEY = "sk-secret-0123456789abcdef"
HELLO = (Message("user", "Hello?"),)
PAIR = Comparison("p1/0-1", Prompt("p1", (Message("user", "How?"),)), "quality 4", "quality 2")
KIND = Constitution("c", "", (Principle("kind", "Be kind.", "critique", "revise", "Which is kinder?"),))


def config(stub: Stub | None = None, **settings: Any) -> ModelConfig:
    return ModelConfig(
        **{"name": "m", "engine": "openai-responses", "base_url": stub and stub.url, **settings}
    )


@asynccontextmanager
async def asking(script: Script, **settings: Any) -> AsyncIterator[tuple[ResponsesEngine, Stub]]:
    async with serving(script) as stub:
        chosen = config(stub, **settings)
        engine = ResponsesEngine(chosen, base_url(chosen), "f", QUICK)
        try:
            yield engine, stub
        finally:
            await engine.close()


def provider(**settings: Any) -> ResponsesProvider:
    return ResponsesProvider("r", "", **settings)


def thinker() -> ResponsesProvider:
    off = {"thinking_off": lambda body: body.get("reasoning_effort") == "minimal"}
    return provider(thinks="hidden", reasons=True, **off)


def request(prefill: str = "", options: tuple[str, ...] = (), **sampling: Any) -> CompletionRequest:
    return CompletionRequest(HELLO, Sampling(**{"max_tokens": 64, **sampling}), 5, prefill, options)


def saying(*output: dict[str, Any], **more: Any) -> list[Any]:
    return [(200, response(*output, **more))]


async def test_a_request_has_the_apis_form_and_nothing_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    turns = (Message("system", "Be brief."), Message("user", "One."), Message("assistant", "Two."))
    asked = CompletionRequest((*turns, Message("user", "Three.")), Sampling(0.7, 0.9, 64, ("END",)), seed=5)
    script = saying(message("Hi.END More."))
    async with asking(script, api_key_env="MY_KEY") as (engine, stub):
        answer = await engine.complete(asked)
    assert (answer.text, answer.finish) == ("Hi.", "stop")  # stops are kept here
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 2)
    assert stub.bodies == [
        {
            **{"model": "m", "store": False, "instructions": "Be brief."},
            **{"temperature": 0.7, "top_p": 0.9, "max_output_tokens": 64},
            "input": [
                {"role": "user", "content": "One."},
                {"role": "assistant", "content": "Two."},
                {"role": "user", "content": "Three."},
            ],
        }
    ]
    (sent,) = stub.requests
    assert sent.path == "/v1/responses" and sent.headers["Authorization"] == f"Bearer {KEY}"


def test_what_is_added_goes_along_and_no_limit_is_below_the_least() -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    extra = {"service_tier": "flex", "reasoning": {"summary": "auto"}, "reasoning_effort": "high"}
    sent = as_payload({**chat, **extra})
    assert sent["max_output_tokens"] == 16 and sent["service_tier"] == "flex"
    assert sent["reasoning"] == {"summary": "auto", "effort": "high"}
    assert as_payload({**chat, "store": True})["store"] is True
    for name in ("seed", "continue_final_message"):
        with pytest.raises(Exception, match=f"{name} is not supported"):
            as_payload({**chat, name: 1})


async def test_labels_are_read_from_log_probabilities() -> None:
    question = Message("user", "Which is better?\n(A) quality 4\n(B) quality 3")
    async with asking(provider().answer) as (engine, stub):
        choice = await engine.choose(ChoiceRequest((question,), ("A", "B"), "The answer is: ("))
    assert p_first(choice.logprobs) == pytest.approx(truth(question.content), abs=1e-6)
    assert stub.bodies[-1]["include"] == ["message.output_text.logprobs"]
    assert stub.bodies[-1]["top_logprobs"] == 20


async def test_a_reasoning_model_has_none_and_its_verdicts_keep_to_a_schema() -> None:
    async with asking(thinker().answer) as (engine, stub):
        with pytest.raises(NoLogprobsError, match="logprobs are not supported with reasoning models"):
            await engine.choose(ChoiceRequest(HELLO, ("A", "B")))
        labeler = Labeler(engine, Templates.load(), LabelConfig(few_shot=0, read="auto", samples=3))
        preference = await label(PAIR, labeler, KIND, 0)
        assert await engine.forms(["options"]) == {"options": "json_schema"}
    assert preference.p is not None
    assert stub.bodies[-1]["text"]["format"]["schema"]["properties"]["answer"]["enum"] == ["A", "B"]
    assert "temperature" not in stub.bodies[-1]


@pytest.mark.parametrize(
    ("thinking", "effort", "thinks"),
    [(False, "minimal", False), (True, None, True), (2048, "medium", True), (512, "low", True)],
)
async def test_thought_is_a_matter_of_effort(thinking: Any, effort: str | None, thinks: bool) -> None:
    async with asking(thinker().answer, thinking=thinking) as (engine, stub):
        answer = await engine.complete(request())
    assert stub.bodies[-1].get("reasoning", {}).get("effort") == effort
    assert (answer.thought_tokens > 0) == thinks and answer.text == "The response is fine."


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Let me see."}]}
ENCRYPTED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}


@pytest.mark.parametrize(
    ("answer", "text", "finish", "thought"),
    [
        (response(REASONING, message("Hi."), usage=counts(3, 9, thought=7)), "Hi.", "stop", 7),
        (response(ENCRYPTED, message("Hi."), usage=None), "Hi.", "stop", 0),
        (
            response(
                REASONING,
                status="incomplete",
                incomplete_details={"reason": "max_output_tokens"},
                usage=counts(3, 16, thought=16),
            ),
            *("", "length", 16),
        ),
        (
            response(
                message("Hi, and", status="incomplete"),
                status="incomplete",
                incomplete_details={"reason": "max_output_tokens"},
            ),
            *("Hi, and", "length", 0),
        ),
        (response(message("I will look.", phase="commentary"), message("Hi.")), "Hi.", "stop", None),
        (response(message("One. "), message("Two.")), "One. Two.", "stop", 0),
    ],
)
async def test_output_items_are_text_or_thought(
    answer: dict[str, Any], text: str, finish: str, thought: int | None
) -> None:
    async with asking([(200, answer)]) as (engine, _):
        found = await engine.complete(request())
    assert (found.text, found.finish) == (text, finish)
    assert thought is None or found.thought_tokens == thought


REFUSAL = {**message(""), "content": [{"type": "refusal", "refusal": "I cannot help with that."}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(REFUSAL), "the model refused: I cannot help"),
        (
            response(status="incomplete", incomplete_details={"reason": "content_filter"}),
            "withheld its answer",
        ),
        (
            response(message("Hi."), status="incomplete", incomplete_details={"reason": "steered"}),
            "'steered'",
        ),
        (response(message("Hi."), status="cancelled"), "'cancelled'"),
        (response(CALL), "a part of it is 'function_call'"),
        ({"id": "resp_1", "object": "response", "output": None}, "cannot be read"),
        (
            response(status="failed", error={"code": "invalid_prompt", "message": "Flagged."}),
            "refuses this request: Flagged",
        ),
        (
            response(status="failed", error={"code": "server_error", "message": "Sorry."}),
            "failed on this request",
        ),
    ],
)
async def test_what_is_no_answer_is_quarantined_with_its_reason(answer: dict[str, Any], words: str) -> None:
    def script(body: dict[str, Any]) -> Any:
        return 200, answer if body["input"][0]["content"] == "Hello?" else response(message("Good."))

    async with asking(script) as (engine, _):
        await engine.complete(CompletionRequest((Message("user", "Other?"),), Sampling(), 1))
        with pytest.raises(ItemError, match=words):
            await engine.complete(request())


async def test_a_failure_that_may_pass_is_asked_again_and_a_fault_for_all_stops() -> None:
    passing = response(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow down."})
    async with asking([(200, passing), (200, response(message("Hi.")))]) as (engine, _):
        assert (await engine.complete(request())).text == "Hi."
    missing = error("The model 'm' does not exist.", None, "model_not_found")
    async with asking([(404, missing[1])]) as (engine, _):
        with pytest.raises(EngineError, match="has no such model"):
            await engine.complete(request())


async def test_as_critic_and_labeler_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked once, nothing at all the second time, priced with what the cache had, and no key kept."""
    monkeypatch.setenv("MY_KEY", KEY)
    path, asked = tmp_path / "journal.sqlite", provider()

    def script(body: dict[str, Any]) -> Any:
        status, answer = asked.answer(body)
        if status == 200:
            read = answer["usage"]["input_tokens"]
            answer["usage"]["input_tokens_details"]["cached_tokens"] = read
        return status, answer

    async def once(url: str) -> tuple[str, float | None]:
        with closing(Journal(path)) as journal:
            chosen = config(
                base_url=url, api_key_env="MY_KEY", price=PriceConfig(input=10, output=2, cache_read=1)
            )
            models = Models(journal, Purse(BudgetConfig(), journal))
            engine = models.engine(chosen)
            try:
                critic = Critic(engine, Templates.load(), ReviseConfig(rounds=1, few_shot=0))
                transcript = await revise(Response(PAIR.prompt, PAIR.a), critic, KIND, 0)
                labeler = Labeler(engine, Templates.load(), LabelConfig(few_shot=0))
                preference = await label(PAIR, labeler, KIND, 0)
            finally:
                await models.close()
            return transcript.final, preference.p

    async with serving(script) as stub:
        first = await once(stub.url)
        count = len(asked.bodies)
        assert await once(stub.url) == first
        assert len(asked.bodies) == count
    assert first[1] == pytest.approx(truth("quality 4 quality 2"), abs=1e-3)
    spent = spending.total(spending.read(path).values())
    assert spent.usd == pytest.approx((spent.prompt_tokens + 2 * spent.completion_tokens) / 1e6)
    for file in tmp_path.rglob("*"):
        assert KEY.encode() not in file.read_bytes(), file


def test_it_is_a_model_on_a_server_with_an_identity_of_its_own() -> None:
    chosen = config(base_url="http://127.0.0.1:9/v1")
    assert on_a_server(chosen) and server_engine(chosen) is ResponsesEngine
    assert fingerprint(chosen) != fingerprint(chosen.model_copy(update={"engine": "openai"}))
    assert base_url(config()) == "https://api.openai.com/v1"


async def test_what_is_sent_and_answered_is_as_the_official_types_have_it() -> None:
    pytest.importorskip("openai")
    from openai.types.responses import Response as Official
    from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
    from pydantic import TypeAdapter

    known = set(ResponseCreateParamsNonStreaming.__annotations__)
    for base in ResponseCreateParamsNonStreaming.__orig_bases__:
        known |= set(getattr(base, "__annotations__", {}))
    for asked in (provider(), thinker()):
        async with asking(asked.answer) as (engine, _):
            await engine.complete(request())
            await engine.complete(request("Well", ("A", "B")))
            if not asked.reasons:
                await engine.choose(ChoiceRequest(HELLO, ("A", "B"), "A or B? ("))
        for body in list(asked.bodies):
            assert set(body) <= known
            TypeAdapter(ResponseCreateParamsNonStreaming).validate_python(body)
            status, answer = asked.answer(body)
            if status == 200:
                Official.model_validate(answer, strict=False)
