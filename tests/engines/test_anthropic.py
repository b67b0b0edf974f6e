"""Anthropic's Messages API as critic and labeler, against a stub that refuses what the API refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from cai.cli.doctor import show
from cai.config.run_config import BudgetConfig, LabelConfig, ModelConfig, PriceConfig, ReviseConfig, RunConfig
from cai.constitution.load import Constitution, Principle
from cai.constitution.templates import Templates
from cai.engines.backend import base_url, fingerprint, on_a_server, open_engine
from cai.engines.hosted.anthropic import AnthropicEngine, as_payload
from cai.engines.models import Models
from cai.engines.prices import price_of
from cai.engines.purse import Purse
from cai.engines.server.credentials import credentials
from cai.pipeline.launch import check
from cai.run import spending
from cai.run.journal import Journal
from cai.stages.label import Labeler, label
from cai.stages.revise import Critic, revise
from cai.values.errors import BudgetError, EngineError, ItemError, NoLogprobsError, UsageError
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
from tests.engines.messages_stub import Claude, error, message, text, thought

KEY = "sk-ant-secret-0123456789"
HELLO = (Message("user", "Hello?"),)
PAIR = Comparison("p1/0-1", Prompt("p1", (Message("user", "How do I do it?"),)), "GOOD one", "BAD one")
KIND = Constitution("c", "", (Principle("kind", "Be kind.", "critique-it", "revise-it", "Which is kinder?"),))


def config(stub: Stub | None = None, **settings: Any) -> ModelConfig:
    return ModelConfig(
        **{"name": "claude-x", "engine": "anthropic", "base_url": stub and stub.url, **settings}
    )


@asynccontextmanager
async def asking(script: Script, **settings: Any) -> AsyncIterator[tuple[AnthropicEngine, Stub]]:
    async with serving(script) as stub:
        chosen = config(stub, **settings)
        engine = AnthropicEngine(chosen, base_url(chosen), "f", QUICK)
        try:
            yield engine, stub
        finally:
            await engine.close()


def request(prefill: str = "", options: tuple[str, ...] = (), **sampling: Any) -> CompletionRequest:
    return CompletionRequest(HELLO, Sampling(**{"max_tokens": 16, **sampling}), 5, prefill, options)


def judged(body: dict[str, Any]) -> str:
    """A labeler that prefers the good one, a critic that writes, and an echo for the rest."""
    said = body["messages"][-1]["content"]
    if "GOOD" in said and "BAD" in said:
        return "A" if said.index("GOOD") < said.index("BAD") else "B"
    return "Be safe." if "revise-it" in said else "It is unsafe."


# --- What is sent ---------------------------------------------------------------------------


async def test_a_request_has_the_apis_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    system = (Message("system", "Be brief."), Message("user", "One."), Message("user", "Two."))
    asked = CompletionRequest(system, Sampling(0.7, 1.0, 16, ("END", "\n\n")), seed=5)
    async with asking(Claude(lambda body: "Hi.\n\nMore."), api_key_env="MY_KEY") as (engine, stub):
        answer = await engine.complete(asked)
    assert (answer.text, answer.finish) == ("Hi.", "stop")  # blank stops are kept here
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 2)
    assert stub.bodies == [
        {
            **{"model": "claude-x", "max_tokens": 16, "temperature": 0.7, "stop_sequences": ["END"]},
            **{"system": "Be brief.", "messages": [{"role": "user", "content": "One.\n\nTwo."}]},
        }
    ]
    (sent,) = stub.requests
    assert sent.path == "/v1/messages"
    assert sent.headers["x-api-key"] == KEY and "Authorization" not in sent.headers
    assert sent.headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize(
    ("temperature", "top_p", "sent", "said"),
    [
        (0.0, 1.0, {"temperature": 0.0}, []),
        (1.7, 1.0, {"temperature": 1.0}, ["takes no temperature above 1"]),
        (1.0, 0.9, {"top_p": 0.9}, []),
        (0.7, 0.9, {"temperature": 0.7}, ["takes no top_p beside a temperature"]),
    ],
)
async def test_sampling_is_what_the_api_takes_and_a_difference_is_told_once(
    caplog: pytest.LogCaptureFixture,
    temperature: float,
    top_p: float,
    sent: dict[str, float],
    said: list[str],
) -> None:
    async with asking(Claude()) as (engine, stub):
        for _ in range(3):
            await engine.complete(request(temperature=temperature, top_p=top_p))
    assert len(stub.bodies) == 3
    for body in stub.bodies:
        assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent
    told = [record.getMessage() for record in caplog.records if "seed" not in record.getMessage()]
    assert len(told) == len(said) and all(words in one for words, one in zip(said, told, strict=True))


async def test_a_newer_model_refuses_sampling_parameters_once_and_answers_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asking(Claude(new=True)) as (engine, stub):
        answers = [await engine.complete(request(temperature=0.3, top_p=0.9)) for _ in range(3)]
    assert [answer.text for answer in answers] == ["Hi."] * 3
    assert sum("temperature" in body for body in stub.bodies) == 1
    assert "temperature" not in stub.bodies[-1] and "top_p" not in stub.bodies[-1]
    assert any("takes no temperature" in record.getMessage() for record in caplog.records)


def test_what_the_api_lacks_is_never_sent_and_what_is_added_goes_along() -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    for name in ("seed", "continue_final_message", "guided_choice"):
        with pytest.raises(Exception, match=f"{name} is not supported"):
            as_payload({**chat, name: 1})
    assert as_payload({**chat, "top_k": 5, "metadata": {"user_id": "u"}})["top_k"] == 5


# --- A beginning ----------------------------------------------------------------------------


def completes(body: dict[str, Any]) -> str:
    """A model that goes on with a turn that was begun: the rest of what it was told to write."""
    *_, task, begun = ({"role": "", "content": ""}, *body["messages"])
    if begun["role"] != "assistant":
        return "Full answer."
    _, _, wanted = task["content"].partition("nothing else: ")
    return wanted.removeprefix(begun["content"]) if wanted else " and so on."


async def test_an_older_model_goes_on_with_a_beginning_without_its_last_blank() -> None:
    async with asking(Claude(completes)) as (engine, stub):
        answer = await engine.complete(request("Well, then: "))
        assert await engine.forms(["prefill"]) == {"prefill": "continued"}
    assert answer.text == "and so on."
    assert stub.bodies[-1]["messages"][-1] == {"role": "assistant", "content": "Well, then:"}


async def test_a_newer_model_is_asked_for_a_beginning_in_words() -> None:
    async with asking(Claude(new=True)) as (engine, stub):
        await engine.complete(request("Well, then"))
        assert await engine.forms(["prefill"]) == {"prefill": "words"}
    assert stub.bodies[-1]["messages"] == [
        {"role": "user", "content": "Hello?\n\nBegin your answer with exactly this text:\nWell, then"}
    ]


# --- Options --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claude", "form"),
    [
        (Claude(judged), "json_schema"),
        (Claude(judged, schemas=False), "tool"),
        (Claude(judged, schemas=False, tools=False), "plain"),
        (Claude(judged, new=True), "json_schema"),
    ],
)
async def test_labels_are_sampled_however_the_model_keeps_to_options(claude: Claude, form: str) -> None:
    async with asking(claude) as (engine, stub):
        labeler = Labeler(engine, Templates.load(), LabelConfig(few_shot=0, read="auto", samples=3))
        preference = await label(PAIR, labeler, KIND, 0)
        assert await engine.forms(["options"]) == {"options": form}
    assert preference.p is not None and preference.p > 0.7
    assert all("logprobs" not in body and "top_logprobs" not in body for body in stub.bodies)


async def test_there_are_no_log_probabilities_and_no_request_finds_that_out() -> None:
    async with asking(Claude()) as (engine, stub):
        with pytest.raises(NoLogprobsError, match="has none"):
            await engine.choose(ChoiceRequest(HELLO, ("A", "B")))
    assert stub.bodies == []


# --- Thought --------------------------------------------------------------------------------


@pytest.mark.parametrize(("new", "wanted"), [(False, 2048), (True, 2048), (False, True), (True, True)])
async def test_thought_is_asked_for_kept_apart_and_has_room(new: bool, wanted: bool | int) -> None:
    async with asking(Claude(new=new), thinking=wanted) as (engine, stub):
        answer = await engine.complete(request(temperature=0.5))
    assert answer.text == "Hi." and answer.thought_tokens > 0
    sent = stub.bodies[-1]
    budget = 1024 if wanted is True else 2048
    assert sent["thinking"] == ({"type": "adaptive"} if new else {"type": "enabled", "budget_tokens": budget})
    assert sent["max_tokens"] == 16 + budget and "temperature" not in sent


async def test_thought_is_switched_off() -> None:
    async with asking(Claude(), thinking=False) as (engine, stub):
        assert (await engine.complete(request())).thought_tokens == 0
    assert stub.bodies[-1]["thinking"] == {"type": "disabled"}


async def test_a_budget_below_the_apis_least_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="at least 1024"):
        await open_engine(config(thinking=500))


def spend_limit() -> Any:
    """A limit that no wait lifts, in the type of one that does."""
    status, body = error(429, "rate_limit_error", "You have reached your specified API usage limits.")
    body["error"]["details"] = {"error_code": "enforced_spend_limit_reached"}
    return status, body


# --- Answers and faults ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (message(stop="refusal"), "refused"),
        (message(text("I can"), stop="refusal"), "refused"),
        (message(text("..."), stop="pause_turn"), "did not end well"),
        (message(text("..."), stop="tool_use"), "did not end well"),
        (message(text("..."), stop="something_new"), "did not end well"),
        (message(), "no text"),
        ((200, {"type": "message"}), "cannot be read"),
        (
            error(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            "refuses",
        ),
        (error(413, "request_too_large", "Request exceeds the maximum size"), "refuses"),
    ],
)
async def test_what_is_no_answer_is_this_items_fault(answer: Any, reason: str) -> None:
    async with asking([answer]) as (engine, stub):
        with pytest.raises(ItemError, match=reason):
            await engine.complete(request())
    assert len(stub.bodies) == 1


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded"])
async def test_an_answer_that_ran_out_is_cut_off_also_in_thought(stop: str) -> None:
    async with asking([message(text("Half a"), stop=stop), message(thought("Hm"), stop=stop)]) as (engine, _):
        said, thinking = [await engine.complete(request()) for _ in range(2)]
    assert (said.text, said.finish) == ("Half a", "length")
    assert (thinking.text, thinking.finish, thinking.thought_tokens) == ("", "length", 2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error(401, "authentication_error", "invalid x-api-key"), "refuses the key"),
        (error(403, "permission_error", "not allowed"), "does not allow"),
        (error(404, "not_found_error", "model: claude-x"), "no such model"),
        (error(402, "billing_error", "pay"), "wants money"),
        (spend_limit(), "wants money"),
        (error(400, "invalid_request_error", "Your credit balance is too low to access the API"), "money"),
    ],
)
async def test_what_no_later_request_mends_stops_the_run(answer: Any, words: str) -> None:
    async with asking([answer]) as (engine, stub):
        with pytest.raises(EngineError, match=words):
            await engine.complete(request())
    assert len(stub.bodies) == 1


@pytest.mark.parametrize(
    "busy",
    [
        error(529, "overloaded_error", "Overloaded"),
        (*error(429, "rate_limit_error", "slow down"), {"retry-after": "0.01"}),
        error(500, "api_error", "Internal server error"),
        (200, error(529, "overloaded_error", "Overloaded")[1]),
    ],
)
async def test_what_may_pass_is_asked_again(busy: Any) -> None:
    async with asking([busy, busy, message(text("Hi."))]) as (engine, stub):
        assert (await engine.complete(request())).text == "Hi."
    assert len(stub.bodies) == 3


# --- The house around it --------------------------------------------------------------------


def test_a_key_goes_to_its_own_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    keys = {"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": "sk-openai-0123456789"}
    there = credentials(config(), base_url(config()), keys)
    assert there.address == "https://api.anthropic.com" and there.headers["x-api-key"] == KEY
    elsewhere = config(base_url="https://proxy.example/v1")
    assert base_url(elsewhere) == "https://proxy.example"
    assert not credentials(elsewhere, base_url(elsewhere), keys).has_key
    only_openai = {"OPENAI_API_KEY": keys["OPENAI_API_KEY"]}
    assert not credentials(config(), base_url(config()), only_openai).has_key
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://mine.example")
    paired = {**keys, "ANTHROPIC_BASE_URL": "https://mine.example"}
    assert credentials(config(), base_url(config()), paired).headers["x-api-key"] == KEY
    openai = ModelConfig(name="m", engine="openai")
    assert not credentials(openai, "https://mine.example", {"ANTHROPIC_API_KEY": KEY}).has_key


def test_it_is_known_as_a_model_on_a_server_with_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    assert on_a_server(config())
    others = [config(revision="2"), config(thinking=False), config(extra_body={"top_k": 5})]
    prints = {fingerprint(one) for one in (config(), *others, ModelConfig(name="claude-x", engine="openai"))}
    assert len(prints) == 5
    assert price_of(config(name="claude-sonnet-4-5"), base_url(config())) is not None
    with pytest.raises(UsageError, match="cannot be trained"):
        check(RunConfig(model=config()))


async def test_revising_and_labelling_a_run_again_asks_nothing_twice_and_no_file_has_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    path, claude = tmp_path / "journal.sqlite", Claude(judged)
    prompt = Prompt("p1", (Message("user", "How?"),))

    async def run(url: str, budget: int | None = None) -> tuple[str, float | None]:
        with closing(Journal(path)) as journal:
            models = Models(journal, Purse(BudgetConfig(tokens=budget), journal))
            chosen = config(base_url=url, api_key_env="MY_KEY", price=PriceConfig(input=1, output=2))
            engine = models.engine(chosen)
            try:
                critic = Critic(engine, Templates.load(), ReviseConfig(few_shot=0, rounds=1))
                transcript = await revise(Response(prompt, "Like this."), critic, KIND, 0)
                labels = LabelConfig(few_shot=0, read="auto", samples=3)
                preference = await label(PAIR, Labeler(engine, Templates.load(), labels), KIND, 0)
            finally:
                await models.close()
        return transcript.rounds[-1].response, preference.p

    async with serving(claude) as stub:
        with pytest.raises(BudgetError):  # stopped in the middle
            await run(stub.url, budget=20)
        first = await run(stub.url)
        asked = [str(body) for body in claude.bodies]
        verdicts = [body for body in asked if "GOOD" in body]
        assert len(verdicts) == 6 and sum("revise-it" in body for body in asked) == 1
        assert await run(stub.url) == first
        assert len(claude.bodies) == len(asked)
    assert first[0] == "Be safe." and first[1] is not None and first[1] > 0.7
    spent = spending.total(spending.read(path).values())
    assert spent.usd == pytest.approx(spent.requests * (3 * 1 + 2 * 2) / 1e6)
    for file in tmp_path.rglob("*"):
        assert KEY.encode() not in file.read_bytes(), file


async def test_a_name_or_address_that_is_not_there_is_told_in_the_apis_terms() -> None:
    for status in (404, 405):
        async with asking([error(status, "not_found_error", "model: claude-y")]) as (engine, stub):
            with pytest.raises(EngineError, match="it is what stands before /v1/messages") as told:
                await engine.complete(request())
        assert "end in /v1" not in str(told.value) and "claude-y" in str(told.value)
        assert len(stub.bodies) == 1


async def test_a_cache_is_counted_as_read() -> None:
    usage = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 10}
    async with asking([message(text("Hi."), **usage)]) as (engine, _):
        assert (await engine.complete(request())).prompt_tokens == 113


async def test_what_a_cache_had_has_its_own_price(tmp_path: Path) -> None:
    usage = {"input_tokens": 0, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 10}
    price = PriceConfig(input=10, output=1, cache_read=1, cache_write=12)
    async with serving([message(text("Hi."), **usage)]) as stub:
        with closing(Journal(tmp_path / "journal.sqlite")) as journal:
            engine = await open_engine(config(stub, price=price), Purse(BudgetConfig(), journal))
            await engine.complete(request())
            await engine.close()
            (spent,) = journal.spent().values()
    assert spent.prompt_tokens == 110
    assert spent.usd == pytest.approx((100 * 1 + 10 * 12 + 2 * 1) / 1e6)


def test_the_doctor_shows_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    import threading

    ready, done, url = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async with serving(Claude(judged)) as stub:
            url.append(stub.url)
            ready.set()
            await asyncio.to_thread(done.wait)

    server = threading.Thread(target=lambda: asyncio.run(serve()))
    server.start()
    try:
        assert ready.wait(10)
        named = config(base_url=url[0])
        assert show(RunConfig(critic=named, labeler=named, label=LabelConfig(read="auto")), policy=False)
    finally:
        done.set()
        server.join()
    shown = capsys.readouterr().out
    assert "verdicts are sampled" in shown and "json_schema" in shown and "200,000 tokens" in shown


async def test_what_is_sent_and_answered_is_as_the_official_types_have_it() -> None:
    pytest.importorskip("anthropic")
    from anthropic.types import Message as Official
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
    from pydantic import TypeAdapter

    sampling = {"temperature", "top_p"}  # older models take them; the types of newer releases have them not
    known = set(MessageCreateParamsNonStreaming.__annotations__)
    for base in MessageCreateParamsNonStreaming.__orig_bases__:
        known |= set(getattr(base, "__annotations__", {}))
    for claude in (Claude(judged), Claude(judged, schemas=False), Claude(judged, new=True)):
        for thinking in (None, 2048):
            async with asking(claude, thinking=thinking) as (engine, _):
                await engine.complete(request())
                await engine.complete(request("Well", ("A", "B")))
        for body in claude.bodies:
            assert set(body) <= known | sampling
            TypeAdapter(MessageCreateParamsNonStreaming).validate_python(
                {name: value for name, value in body.items() if name not in sampling}
            )
            status, answer = claude(dict(body))
            claude.bodies.pop()
            if status == 200:
                Official.model_validate(answer)
