"""Abilities are proven, whatever a server accepts: continued turns, options, thought, log-probabilities."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from server_stubs import Mind, Provider, openai_reasoning, p_first, providers, serving, truth

from cai.config.run_config import ModelConfig
from cai.engines.backend import fingerprint
from cai.engines.models import Models
from cai.engines.server.client import Patience
from cai.engines.server.openai import OpenAIEngine
from cai.run.journal import Journal
from cai.values.errors import EngineError, ItemError, NoLogprobsError
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Sampling

QUICK = Patience(attempts=2, first_pause=0.01, longest_pause=0.1, timeout=5.0, connect_timeout=1.0)
QUESTION = "Which is better?\n(A) quality 4\n(B) quality 3"
PICK = ChoiceRequest((Message("user", QUESTION),), ("A", "B"), "The answer is: (")
ASK = CompletionRequest((Message("user", "Is it fine?"),), Sampling(0.7, 1.0, 64), seed=5)
ALL = {provider.name: provider for provider in providers()}
DROPPING = "a proxy that drops fields, a weak model"


def of(name: str, **changed: Any) -> Provider:
    return replace(ALL[name], bodies=[], **changed)


@contextmanager
def engine_at(provider: Provider, **settings: Any) -> Iterator[OpenAIEngine]:
    with serving(provider) as url:
        yield OpenAIEngine(ModelConfig(name="m", engine="openai", **settings), url, "f", QUICK)


class TestPrefill:
    @pytest.mark.parametrize(
        ("name", "form", "way"),
        [
            ("vLLM", "continued", "continue_final_message"),
            ("vLLM, a weak model", "continued", "continue_final_message"),  # proven by tokens, not by wit
            ("SGLang", "continued", "continue_final_message"),
            ("llama.cpp", "continued", "continue_final_message"),
            ("Groq", "continued", "assistant"),  # refuses the field, and continues all the same
            ("DeepSeek chat", "continued", "prefix"),
            ("Mistral", "echoed", "prefix"),
            ("a proxy that drops fields, vLLM behind it", "words", ""),
            (DROPPING, "words", ""),
            ("OpenAI chat", "words", ""),
            ("Anthropic's compatible endpoint", "words", ""),
            ("vLLM before 0.8", "words", ""),
        ],
    )
    async def test_only_what_is_shown(self, name: str, form: str, way: str) -> None:
        with engine_at(of(name)) as engine:
            answer = await engine.complete(replace(ASK, prefill="Well, then"))
            found = await engine._prefill_form()
            await engine.close()
        assert (found.form, found.way) == (form, way)
        assert not answer.text.startswith("Well, then")

    @pytest.mark.parametrize(
        ("continues", "weak", "form"),
        [
            *(("flag", False, "continued"), ("always", False, "continued"), ("never", False, "words")),
            *(("flag", True, "words"), ("never", True, "words")),  # nothing shows that it would
        ],
    )
    async def test_a_server_that_counts_no_tokens_shows_it_by_words(
        self, continues: str, weak: bool, form: str
    ) -> None:
        provider = of("vLLM", usage=False, continues=continues, mind=Mind(weak))
        with engine_at(provider) as engine:
            found = await engine._prefill_form()
            await engine.close()
        assert found.form == form

    async def test_a_model_that_goes_on_by_itself_in_a_new_turn_shows_nothing(self) -> None:
        """Capable ones do; the tokens tell that the turn was closed."""

        class Eager(Mind):
            def next(self, question: str, begun: str | None) -> tuple[dict[str, float], str]:
                task = question.removeprefix("Write exactly this and nothing else: ")
                for start in ("butter", "sun", "water"):
                    if task.startswith(start):
                        return {"x": 1.0}, task.removeprefix(start)
                return super().next(question, begun)

        with engine_at(of("a proxy that drops fields, vLLM behind it", mind=Eager())) as engine:
            assert (await engine._prefill_form()).form == "words"
            await engine.close()

    async def test_one_probe_for_a_crowd(self) -> None:
        provider = of("vLLM")
        with engine_at(provider) as engine:
            many = (engine.complete(replace(ASK, prefill="Well", seed=n)) for n in range(40))
            await asyncio.gather(*many)
            await engine.close()
        assert len(provider.bodies) == 40 + 4


class TestChoices:
    async def test_a_proxy_that_drops_the_field_gives_the_same_labels_or_none(self) -> None:
        for name in (DROPPING, "a proxy that drops fields, vLLM behind it"):
            with engine_at(of(name)) as engine:
                try:
                    found = p_first((await engine.choose(PICK)).logprobs)
                except ItemError as error:
                    assert "does not answer with an option" in str(error)
                else:
                    assert found == pytest.approx(truth(QUESTION), abs=1e-3)
                await engine.close()

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("OpenAI reasoning", "'logprobs' is not supported with this model"),
            ("vLLM, a reasoning parser", "thinks before it answers.*thinking: false"),
            ("Ollama", "have none, though they were asked for"),
            ("LM Studio", "have none"),
            ("Gemini's compatible endpoint", "not enabled for models/gemini"),
            ("a gateway that lists the drawn token alone", "have none"),
        ],
    )
    async def test_without_log_probabilities_it_says_why(self, name: str, words: str) -> None:
        with engine_at(of(name)) as engine, pytest.raises(NoLogprobsError, match=f"(?s){words}.*labeler"):
            await engine.choose(PICK)

    async def test_numbers_that_are_not_of_the_answer(self) -> None:
        class Liar(Provider):
            def _logprobs(self, first: dict[str, float], body: dict[str, Any]) -> Any:
                return super()._logprobs({"yes": 0.5, "no": 0.3}, body)

        liar = Liar("liar", "", continues="flag", lists="chat")
        with engine_at(liar) as engine, pytest.raises(NoLogprobsError, match="'yes' as most probable"):
            await engine.choose(PICK)

    async def test_tokens_as_ids_are_asked_for_as_text(self) -> None:
        with engine_at(of("vLLM, tokens as ids")) as engine:
            choice = await engine.choose(PICK)
            await engine.close()
        assert p_first(choice.logprobs) == pytest.approx(truth(QUESTION), abs=1e-3)


class TestOptions:
    @pytest.mark.parametrize(
        ("name", "form"),
        [
            ("vLLM", "structured_outputs"),
            ("vLLM before 0.8", "guided_choice"),
            ("OpenAI chat", "json_schema"),
            ("a proxy that drops fields, vLLM behind it", "json_schema"),
            ("TGI", "plain"),  # ignored, with a status of 200
            ("Anthropic's compatible endpoint", "plain"),
        ],
    )
    async def test_the_answer_is_one_of_them(self, name: str, form: str) -> None:
        for prefill in ("", "The answer is: ("):
            with engine_at(of(name)) as engine:
                request = CompletionRequest(
                    (Message("user", QUESTION),), Sampling(1.0, 1.0, 32), 3, prefill, ("A", "B")
                )
                answer = await engine.complete(request)
                assert (await engine.forms(["options"])) == {"options": form}
                await engine.close()
            assert answer.text in ("A", "B")


class TestThinking:
    @pytest.mark.parametrize(
        ("name", "wanted", "field"),
        [
            ("vLLM, a reasoning parser", False, "chat_template_kwargs"),
            ("OpenAI reasoning", False, "reasoning_effort"),
            ("OpenRouter", False, "reasoning"),
            ("vLLM, a reasoning parser", 200, "thinking"),
        ],
    )
    async def test_it_is_switched_by_what_the_server_takes(
        self, name: str, wanted: bool | int, field: str
    ) -> None:
        provider = of(name)
        with engine_at(provider, thinking=wanted) as engine:
            answer = await engine.complete(ASK)
            await engine.close()
        assert answer.text == "The response is fine."
        assert (answer.thought_tokens > 0) == bool(wanted)
        assert field in provider.bodies[-1]
        if wanted:
            assert provider.bodies[-1]["max_tokens"] == 64 + 200

    async def test_a_switch_without_effect_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING), engine_at(of("DeepSeek reasoner"), thinking=False) as engine:
            await engine.complete(ASK)
            await engine.close()
        assert "thinks all the same" in caplog.text

    async def test_labels_of_a_thinking_model_with_its_thought_off(self) -> None:
        with engine_at(of("vLLM, a reasoning parser"), thinking=False) as engine:
            choice = await engine.choose(PICK)
            await engine.close()
        assert p_first(choice.logprobs) == pytest.approx(truth(QUESTION), abs=1e-3)

    async def test_used_up_by_thought_is_cut_off(self) -> None:
        for name in ("vLLM, a reasoning parser", "OpenAI reasoning", "a server that thinks in its text"):
            with engine_at(of(name)) as engine:
                answer = await engine.complete(replace(ASK, sampling=Sampling(1.0, 1.0, 10)))
                await engine.close()
            assert answer.finish == "length", name


class TestDialect:
    async def test_it_is_learned_before_the_crowd(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each item had a share in the learning, and all but one were lost."""
        provider = of("OpenAI reasoning")
        with caplog.at_level(logging.WARNING), engine_at(provider) as engine:
            many = (engine.complete(replace(ASK, seed=n)) for n in range(50))
            answers = await asyncio.gather(*many)
            await engine.close()
        assert {answer.text for answer in answers} == {"The response is fine."}
        assert len(provider.bodies) == 50 + 3
        assert caplog.text.count("takes no temperature") == 1

    async def test_a_lesson_in_the_middle_of_the_crowd_reaches_all(self) -> None:
        told: list[int] = []

        def later(body: dict[str, Any]) -> tuple[int, Any] | None:
            told.append(1)
            return openai_reasoning(body) if len(told) > 5 else None

        provider = Provider("changes its mind", "", (later,))
        with engine_at(provider) as engine:
            answers = await asyncio.gather(*(engine.complete(replace(ASK, seed=n)) for n in range(30)))
            await engine.close()
        assert len(answers) == 30

    async def test_further_fields_are_passed_on_and_not_dropped_in_silence(self) -> None:
        provider = of("vLLM")
        extra = {"top_k": 5, "chat_template_kwargs": {"x": 1}}
        with engine_at(provider, extra_body=extra, thinking=False) as engine:
            await engine.complete(ASK)
            await engine.close()
        assert provider.bodies[-1]["top_k"] == 5
        kwargs = provider.bodies[-1]["chat_template_kwargs"]
        assert kwargs == {"enable_thinking": False, "thinking": False, "x": 1}
        with (
            engine_at(of("OpenAI chat"), extra_body={"top_k": 5}) as engine,
            pytest.raises(EngineError, match="refuses top_k, which extra_body adds"),
        ):
            await engine.complete(ASK)

    def test_what_shapes_answers_is_the_models_identity_and_what_does_not_is_not(self) -> None:
        plain = ModelConfig(name="m", engine="openai")
        shaping = ({"thinking": False}, {"thinking": 100}, {"extra_body": {"top_k": 5}})
        found = {fingerprint(plain.model_copy(update=one)) for one in (*shaping, {})}
        assert len(found) == 4
        for one in ({"headers": {"x": "y"}}, {"query": {"v": "1"}}, {"api_key_env": "K"}, {"patience": 1.0}):
            assert fingerprint(plain.model_copy(update=one)) == fingerprint(plain)


class TestForms:
    """The form is remembered with the run and part of what a question is known by."""

    @staticmethod
    async def ask(path: Path, url: str, request: ChoiceRequest | CompletionRequest) -> Any:
        with closing(Journal(path)) as journal:
            models = Models(journal)
            try:
                engine = models.engine(ModelConfig(name="m", engine="openai", base_url=url))
                verb = engine.choose if isinstance(request, ChoiceRequest) else engine.complete
                return await verb(request)  # type: ignore[arg-type]
            finally:
                await models.close()

    async def test_a_finished_run_asks_no_server(self, tmp_path: Path) -> None:
        path, prefilled = tmp_path / "j.sqlite", replace(ASK, prefill="Well", options=())
        with serving(of("vLLM")) as url:
            first = [await self.ask(path, url, one) for one in (PICK, prefilled, ASK)]
        again = [await self.ask(path, "http://127.0.0.1:9/v1", one) for one in (PICK, prefilled, ASK)]
        assert again == first

    async def test_another_form_is_another_question(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "j.sqlite"
        with serving(of("vLLM")) as url:
            await self.ask(path, url, PICK)
        other = replace(PICK, messages=(Message("user", f"Look. {QUESTION}"),))
        provider = of("a proxy that drops fields, vLLM behind it")
        with caplog.at_level(logging.WARNING), serving(provider) as url:
            await self.ask(path, url, other)
            assert "took it as continued" in caplog.text
            before = len(provider.bodies)
            await self.ask(path, url, other)
            assert len(provider.bodies) == before
            await self.ask(path, url, PICK)  # the answer in the other form does not count
            assert len(provider.bodies) > before
