"""Before anything is spent, every server that a run needs is asked whether it can play its part."""

from contextlib import closing
from pathlib import Path

import pytest

from cai.config.run_config import BudgetConfig, ModelConfig
from cai.engines.models import Models
from cai.engines.purse import Purse
from cai.engines.rehearsal import Part
from cai.run.journal import Journal
from cai.values.errors import EngineError
from cai.values.types import CompletionRequest, Message, Sampling
from tests.engines.test_openai import refusal, reply, serving

ASK = CompletionRequest((Message("user", "A question of the run?"),), Sampling(), seed=1)


def asked(server: object) -> list[str]:
    return [body["messages"][-1]["content"] for body in server.bodies]  # type: ignore[attr-defined]


async def ask(path: Path, first: ModelConfig, parts: list[Part]) -> str:
    with closing(Journal(path)) as journal:
        models = Models(journal, Purse(BudgetConfig(), journal), parts)
        try:
            return (await models.engine(first).complete(ASK)).text
        finally:
            await models.close()


def model(name: str, url: str) -> ModelConfig:
    return ModelConfig(name=name, engine="openai", base_url=url)


async def test_a_later_role_that_cannot_be_played_is_found_before_the_first_question(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with serving([reply("Hello.")]) as good, serving([refusal(404, "no such model")]) as bad:
        parts = [Part("critic", model("c", good.url)), Part("labeler", model("l", bad.url))]
        with pytest.raises(EngineError, match=r"^labeler: "):
            await ask(path, model("c", good.url), parts)
        assert "A question of the run?" not in asked(good)


async def test_a_labeler_without_log_probabilities_is_found_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with serving([reply("Hello.")]) as server:
        with pytest.raises(EngineError, match=r"^labeler: .*label\.read=samples"):
            await ask(path, model("c", server.url), [Part("labeler", model("l", server.url), logprobs=True)])
        assert await ask(path, model("c", server.url), [Part("labeler", model("l", server.url))]) == "Hello."


async def test_a_model_that_this_run_knows_is_believed_and_answers_in_the_journal_need_nobody(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite"
    with serving([reply("Hello.")]) as server:
        parts = [Part("critic", model("c", server.url))]
        assert await ask(path, model("c", server.url), parts) == "Hello."
        count = len(server.bodies)
        assert count == 2  # the rehearsal, and the question
        assert await ask(path, model("c", server.url), parts) == "Hello."
        assert len(server.bodies) == count
    away = model("l", "http://127.0.0.1:9/v1")
    assert await ask(path, model("c", server.url), [Part("labeler", away)]) == "Hello."


async def test_a_server_that_declines_everything_is_found(tmp_path: Path) -> None:
    with serving([refusal(400, "we do not like this")]) as server:
        with pytest.raises(EngineError, match=r"^critic: c does not answer even 'Say hello"):
            await ask(tmp_path / "j.sqlite", model("c", server.url), [Part("critic", model("c", server.url))])
        assert "A question of the run?" not in asked(server)
