"""What a server takes is learned once, by one process for the next; a server that changed is noticed."""

from __future__ import annotations

import json
import logging
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from server_stubs import Mind, Provider, openai_reasoning, providers, serving

from cai.config.run_config import LabelConfig, ModelConfig
from cai.engines.backend import fingerprint
from cai.engines.models import Models
from cai.engines.rehearsal import Part, rehearse
from cai.engines.server import learned
from cai.engines.server.learned import FRESH, KEY, NOTHING, Learned, as_text, from_text
from cai.engines.server.parameters import Dialect
from cai.engines.server.probe import Prefill
from cai.run.journal import Journal
from cai.stages.label_question import Question
from cai.stages.label_reading import Way, read
from cai.values.errors import EngineError, NoLogprobsError
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Reading, Sampling

ALL = {provider.name: provider for provider in providers()}
DROPPING = "a proxy that drops fields, vLLM behind it"
REASONING = "OpenAI reasoning"


def of(name: str, **changed: Any) -> Provider:
    return replace(ALL[name], bodies=[], **changed)


def begun(number: int) -> CompletionRequest:
    return CompletionRequest(
        (Message("user", f"Is it fine? {number}"),), Sampling(0.7, 1.0, 64), 5, "Well, then"
    )


def one_of(number: int) -> CompletionRequest:
    return CompletionRequest((Message("user", f"Pick {number}"),), Sampling(), 1, options=("A", "B"))


def pick(number: int) -> ChoiceRequest:
    question = f"Which is better? {number}\n(A) quality 4\n(B) quality 3"
    return ChoiceRequest((Message("user", question),), ("A", "B"), "The answer is: (")


async def process(path: Path, url: str, provider: Provider, number: int, **settings: Any) -> list[Any]:
    """Ask everything there is to ask, as another command would → the requests that it took."""
    before = len(provider.bodies)
    with closing(Journal(path)) as journal:
        models = Models(journal)
        try:
            engine = models.engine(ModelConfig(name="m", engine="openai", base_url=url, **settings))
            await engine.complete(begun(number))
            await engine.complete(one_of(number))
            with suppress(NoLogprobsError):
                await engine.choose(pick(number))
        finally:
            await models.close()
    return provider.bodies[before:]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        (REASONING, 4),  # neither a beginning nor log-probabilities are asked for again
        (DROPPING, 5),  # that log-probabilities are still given is asked once
        ("vLLM", 6),  # so are a beginning that is continued, and options that are kept to
        ("Mistral", 4),
        ("a server that thinks in its text", 2),
    ],
)
async def test_another_process_does_not_learn_it_anew(tmp_path: Path, name: str, most: int) -> None:
    provider = of(name)
    with serving(provider) as url:
        first = await process(tmp_path / "j", url, provider, 1)
        second = await process(tmp_path / "j", url, provider, 2)
        third = await process(tmp_path / "j", url, provider, 3)
    assert len(second) <= most < len(first)
    assert len(third) == len(second)


async def test_no_refusal_is_met_twice(tmp_path: Path) -> None:
    refused: list[int] = []

    def counting(body: Any) -> Any:
        found = openai_reasoning(body)
        if found is not None:
            refused.append(1)
        return found

    provider = of(REASONING)
    provider.refuse = (counting,)
    with serving(provider) as url:
        await process(tmp_path / "j", url, provider, 1)
        assert len(refused) > 3
        refused.clear()
        await process(tmp_path / "j", url, provider, 2)
    assert refused == []


async def test_how_it_is_made_to_think_or_not_is_kept(tmp_path: Path) -> None:
    provider = of("vLLM, a reasoning parser")
    with serving(provider) as url:
        first = await process(tmp_path / "j", url, provider, 1, thinking=False)
        second = await process(tmp_path / "j", url, provider, 2, thinking=False)
    assert len(second) < len(first)
    assert second[-1]["chat_template_kwargs"] == first[-1]["chat_template_kwargs"]


async def test_a_server_that_continues_no_more_is_noticed_and_learned_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider = of("vLLM")
    with serving(provider) as url:
        await process(tmp_path / "j", url, provider, 1)
        provider.continues = "never"  # a proxy that drops the field, in its place
        with caplog.at_level(logging.WARNING):
            asked = await process(tmp_path / "j", url, provider, 2)
    assert "learned again" in caplog.text
    last = next(body for body in asked if "Is it fine? 2" in str(body["messages"]))
    assert "continue_final_message" not in last
    assert "Begin your answer with exactly this text" in last["messages"][-1]["content"]


async def test_a_server_that_lists_something_else_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider = of("vLLM")
    with serving(provider) as url:
        await process(tmp_path / "j", url, provider, 1)
        provider.lists = "drawn"
        with caplog.at_level(logging.WARNING):
            await process(tmp_path / "j", url, provider, 2)
        assert "learned again" in caplog.text
        caplog.clear()
        provider.lists = ALL["vLLM"].lists
        await process(tmp_path / "j", url, provider, 3)  # told once, and no more
    assert "learned again" not in caplog.text


async def test_a_server_with_other_log_probabilities_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Other(Mind):
        def next(self, question: str, begun: str | None) -> tuple[dict[str, float], str]:
            first, text = super().next(question, begun)
            return ({"B": 0.9, "A": 0.1}, "B)") if "first in the alphabet" in question else (first, text)

    provider = of("vLLM")
    with serving(provider) as url:
        await process(tmp_path / "j", url, provider, 1)
        provider.mind = Other()
        with caplog.at_level(logging.WARNING):
            await process(tmp_path / "j", url, provider, 2)
    assert "learned again" in caplog.text


async def test_another_server_is_asked_for_itself(tmp_path: Path) -> None:
    first, second = of(REASONING), of("vLLM")
    with serving(first) as url:
        await process(tmp_path / "j", url, first, 1)
    with serving(second) as url:
        await process(tmp_path / "j", url, second, 2)
    with closing(Journal(tmp_path / "j")) as journal:
        said = journal.announced(fingerprint(ModelConfig(name="m", engine="openai")))
    assert json.loads(said[KEY])["unlisted"] == ""  # it has log-probabilities, as the other had not
    assert "127.0.0.1" not in json.dumps(said) and "http" not in json.dumps(said)


def test_what_is_old_or_another_servers_or_damaged_is_nothing() -> None:
    known = Learned(
        Dialect(dropped=frozenset({"seed"}), top=5), Prefill("continued", "prefix", tokens=40), "plain",
        {"reasoning_effort": "low"}, "", ("A", -0.1), "none",
    )  # fmt: skip
    text = as_text(known, "here", "sign", 1000.0)
    assert from_text(text, "sign", 1000.0 + FRESH) == known
    assert from_text(text, "sign", 1001.0 + FRESH) == NOTHING
    assert from_text(text, "sign", 999.0) == NOTHING  # a clock that was put back
    assert from_text(text, "another", 1000.0) == NOTHING
    for broken in ("", "[]", "{", '{"sign": "sign"}', text.replace('"dropped"', '"drop"')):
        assert from_text(broken, "sign", 1000.0) == NOTHING


async def test_verdicts_in_the_journal_need_no_server_to_be_found_again(tmp_path: Path) -> None:
    provider = of(REASONING)
    config = ModelConfig(name="m", engine="openai", base_url="http://127.0.0.1:9/v1")
    question = Question((Message("user", "Which?\n(A) quality 4\n(B) quality 3"),), ("A", "B"), ("q",))

    async def labeled(url: str) -> Reading:
        with closing(Journal(tmp_path / "j")) as journal:
            models = Models(journal)
            engine = models.engine(config.model_copy(update={"base_url": url}))
            try:
                return await read(question, engine, LabelConfig(samples=3, max_tokens=16), Way(), 0)
            finally:
                await models.close()

    with serving(provider) as url:
        first = await labeled(url)
    assert first.votes is not None
    assert await labeled("http://127.0.0.1:9/v1") == first  # nobody is there


class TestNamesakes:
    async def test_one_s_answers_make_no_other_believed(self, tmp_path: Path) -> None:
        answering, refusing = of("vLLM"), of("vLLM")
        refusing.refuse = (lambda body: (401, {"error": {"message": "bad key"}}),)
        with (
            serving(answering) as url,
            serving(refusing) as other,
            closing(Journal(tmp_path / "j")) as journal,
        ):
            models = Models(journal)
            await models.engine(ModelConfig(name="m", engine="openai", base_url=url)).complete(begun(1))
            await models.close()
            asked = len(answering.bodies)
            await rehearse(
                [Part("critic", ModelConfig(name="m", engine="openai", base_url=url))], journal, None
            )
            assert len(answering.bodies) == asked  # believed
            away = Part("judge", ModelConfig(name="m", engine="openai", base_url=other))
            with pytest.raises(EngineError, match="judge: "):
                await rehearse([away], journal, None)

    async def test_what_a_rehearsal_has_learned_the_run_knows(self, tmp_path: Path) -> None:
        provider = of(REASONING)
        with serving(provider) as url, closing(Journal(tmp_path / "j")) as journal:
            config = ModelConfig(name="m", engine="openai", base_url=url)
            await rehearse([Part("critic", config)], journal, None)
            asked = len(provider.bodies)
            models = Models(journal)
            await models.engine(config).complete(replace(begun(1), prefill="", sampling=Sampling()))
            await models.close()
            assert len(provider.bodies) == asked + 1

    async def test_a_journal_from_before_believes_by_name(self, tmp_path: Path, monkeypatch: Any) -> None:
        provider = of("vLLM")
        with serving(provider) as url, closing(Journal(tmp_path / "j")) as journal:
            config = ModelConfig(name="m", engine="openai", base_url=url)
            models = Models(journal)
            await models.engine(config).complete(begun(1))
            await models.close()
            monkeypatch.setattr(learned, "KEY", "never written")
            asked = len(provider.bodies)
            await rehearse([Part("critic", config)], journal, None)
            assert len(provider.bodies) == asked
