"""A budget stops what asks a server, keeps all that was paid for, and a larger one goes on from there."""

import asyncio
from contextlib import closing
from pathlib import Path

from cai.config.run_config import BudgetConfig, ModelConfig
from cai.engines.models import Models
from cai.engines.purse import Purse
from cai.run import spending
from cai.run.journal import Journal
from cai.values.errors import BudgetError
from cai.values.types import CompletionRequest, Message, Sampling
from tests.engines.test_openai import reply, serving

TOKENS = 5  # of an answer, as ``reply`` counts: three read and two written


def request(n: int) -> CompletionRequest:
    return CompletionRequest((Message("user", f"Question {n}?"),), Sampling(), seed=n)


async def crowd(path: Path, url: str, budget: int | None, n: int = 40) -> list[str | BaseException]:
    with closing(Journal(path)) as journal:
        models = Models(journal, Purse(BudgetConfig(tokens=budget), journal))
        engine = models.engine(ModelConfig(name="m", engine="openai", base_url=url, max_concurrency=8))
        try:
            asked = (engine.complete(request(i)) for i in range(n))
            found = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await models.close()
    return [answer if isinstance(answer, BaseException) else answer.text for answer in found]


async def test_a_run_stops_at_its_budget_and_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with serving(lambda body: reply(body["messages"][-1]["content"])) as server:
        url = server.url
        first = await crowd(path, url, 100)
        paid = [answer for answer in first if isinstance(answer, str)]
        assert len(paid) == 100 // TOKENS
        assert all(isinstance(answer, BudgetError) for answer in first if not isinstance(answer, str))
        assert len(server.bodies) == len(paid)

        assert sum(isinstance(answer, str) for answer in await crowd(path, url, 100)) == len(paid)
        assert len(server.bodies) == len(paid)  # nothing more, and what was kept is given

        assert await crowd(path, url, None) == [f"Question {i}?" for i in range(40)]
        asked = [body["messages"][-1]["content"] for body in server.bodies]
        assert sorted(asked) == sorted(f"Question {i}?" for i in range(40))  # each of them once
    (spent,) = spending.read(path).values()
    assert (spent.requests, spent.tokens) == (40, 40 * TOKENS)
    assert spent.unpriced == 40


async def test_a_server_that_counts_nothing_is_counted_by_length(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"

    def uncounted(body: object) -> object:
        status, answer = reply("x" * 400)
        return status, {"choices": answer["choices"]}

    with serving(uncounted) as server:
        await crowd(path, server.url, None, 1)
    (spent,) = spending.read(path).values()
    assert spent.prompt_tokens > 5 and 100 <= spent.completion_tokens <= 150
