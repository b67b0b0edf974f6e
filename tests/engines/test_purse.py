"""What is spent on models is booked in the run's journal, and never more than the budget."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from cai.config.run_config import BudgetConfig, ModelConfig, PriceConfig
from cai.engines.prices import price_of
from cai.engines.purse import Account, Purse
from cai.run.journal import Journal
from cai.run.spending import Spent, told
from cai.values.errors import BudgetError, UsageError

HERE = "http://127.0.0.1:9/v1"
CHEAP = ModelConfig(name="m", price=PriceConfig(input=1.0, output=3.0))  # per million


async def ask(account: Account, prompt: int = 1000, completion: int = 1000) -> None:
    async with account.request() as book:
        await asyncio.sleep(0)
        book(prompt, completion)


async def crowd(account: Account, n: int) -> list[BaseException | None]:
    return await asyncio.gather(*(ask(account) for _ in range(n)), return_exceptions=True)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.sqlite")


def test_a_price_is_the_user_s_or_that_of_the_address() -> None:
    listed = PriceConfig(input=0.15, output=0.6, cache_read=0.075, cache_write=0.15)
    assert price_of(ModelConfig(name="gpt-4o-mini"), "https://api.openai.com/v1") == listed
    assert price_of(ModelConfig(name="gpt-4o-mini"), HERE) is None  # a proxy, or a namesake
    assert price_of(ModelConfig(name="no-such-model"), "https://api.openai.com/v1") is None
    assert price_of(CHEAP, "https://api.openai.com/v1") == CHEAP.price


async def test_it_stops_before_the_limit_with_nothing_in_flight(journal: Journal) -> None:
    purse = Purse(BudgetConfig(usd=0.1), journal)
    account = purse.account(CHEAP, HERE)
    await ask(account)  # 0.004 US dollars, and so is each of the others
    outcomes = await crowd(account, 100)
    paid = [outcome for outcome in outcomes if outcome is None]
    assert len(paid) == 24 and purse.spent.usd == pytest.approx(0.1)
    assert all(isinstance(outcome, BudgetError) for outcome in outcomes if outcome is not None)
    assert "--set budget.usd=" in str(outcomes[-1])


async def test_tokens_are_a_limit_too_and_need_no_price(journal: Journal) -> None:
    account = Purse(BudgetConfig(tokens=10_000), journal).account(ModelConfig(name="m"), HERE)
    await ask(account)
    assert sum(outcome is None for outcome in await crowd(account, 20)) == 4


def test_a_limit_in_dollars_needs_prices(journal: Journal) -> None:
    with pytest.raises(UsageError, match=r"price: \{input"):
        Purse(BudgetConfig(usd=1.0), journal).account(ModelConfig(name="m"), HERE)
    Purse(BudgetConfig(), journal).account(ModelConfig(name="m"), HERE)


async def test_what_was_paid_before_counts_and_a_higher_limit_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for limit, more in ((0.008, 2), (0.008, 0), (0.02, 3)):
        journal = Journal(path)
        account = Purse(BudgetConfig(usd=limit), journal).account(CHEAP, HERE)
        done = 0
        try:
            for _ in range(10):
                await ask(account)
                done += 1
        except BudgetError:
            pass
        assert done == more
        journal.close()
    earlier = Purse(BudgetConfig(usd=0.02), Journal(tmp_path / "second.sqlite"), Spent(usd=0.02))
    with pytest.raises(BudgetError):
        await ask(earlier.account(CHEAP, HERE))


async def test_a_request_that_comes_to_nothing_gives_its_place_back(journal: Journal) -> None:
    account = Purse(BudgetConfig(tokens=2_000), journal).account(CHEAP, HERE)
    with pytest.raises(ConnectionError):
        async with account.request():
            raise ConnectionError
    await ask(account)
    with pytest.raises(BudgetError):
        await ask(account)


async def test_a_batch_is_half_the_price_and_what_was_sent_before_is_not_held_back(journal: Journal) -> None:
    purse = Purse(BudgetConfig(tokens=3000), journal)
    account = purse.account(CHEAP, HERE)
    async with account.request(batch=True) as book:
        book(1000, 1000)
    assert purse.spent.usd == pytest.approx(0.002)
    with pytest.raises(BudgetError):
        await ask(account)
    async with account.request(batch=True, owed=True) as book:
        book(1000, 1000)
    assert purse.spent.tokens == 4000


def test_a_batch_has_the_list_s_price_and_half_where_it_has_none() -> None:
    openai, listed = "https://api.openai.com/v1", ModelConfig(name="gpt-4o-mini")
    half = PriceConfig(input=0.075, output=0.3)
    found = price_of(listed, openai, batch=True)
    assert found is not None and (found.input, found.output) == (half.input, half.output)
    own = ModelConfig(name="m", price=PriceConfig(input=1.0, output=3.0, cache_read=0.1))
    assert price_of(own, HERE, batch=True) == PriceConfig(input=0.5, output=1.5, cache_read=0.05)
    unlisted = price_of(ModelConfig(name="deepseek-chat"), "https://api.deepseek.com/v1")
    assert unlisted is not None
    lower = price_of(ModelConfig(name="deepseek-chat"), "https://api.deepseek.com/v1", batch=True)
    assert lower is not None and lower.input == unlisted.input / 2  # the list has no batches of this one


@pytest.mark.parametrize(
    ("price", "usd"),
    [
        (PriceConfig(input=1.0, output=3.0), 4000),
        (PriceConfig(input=1.0, output=3.0, cache_read=0.1, cache_write=1.25), 600 * 0.1 + 300 * 1.25 + 3100),
    ],
)
async def test_what_a_cache_had_has_a_price_of_its_own(
    journal: Journal, price: PriceConfig, usd: float
) -> None:
    purse = Purse(BudgetConfig(), journal)
    async with purse.account(ModelConfig(name="m", price=price), HERE).request() as book:
        book(1000, 1000, 600, 300)
    assert purse.spent.usd == pytest.approx(usd / 1e6)


async def test_it_is_told_by_model(journal: Journal) -> None:
    purse = Purse(BudgetConfig(), journal)
    await ask(purse.account(CHEAP, HERE))
    await ask(purse.account(ModelConfig(name="unknown"), HERE))
    first, second = told(journal.spent())
    assert "1,000 tokens read and 1,000 written: 0.0040 US dollars" in first
    assert second.endswith("its price is not known")


async def test_namesakes_on_two_hosts_are_paid_for_apart(journal: Journal) -> None:
    purse = Purse(BudgetConfig(), journal)
    await ask(purse.account(CHEAP, "http://one:8000/v1"))
    await ask(purse.account(CHEAP, "http://one:8000/v1"))
    await ask(purse.account(CHEAP, "http://someone:secret@two:8000/v1"))
    spent = journal.spent()
    assert {name: one.requests for name, one in spent.items()} == {"m at one:8000": 2, "m at two:8000": 1}
    assert [line.split()[:3] for line in told(spent)] == [["m", "at", "one:8000"], ["m", "at", "two:8000"]]


async def test_a_damaged_journal_keeps_what_was_spent(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    await ask(Purse(BudgetConfig(), journal).account(CHEAP, HERE))
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE answers")
        db.execute("CREATE TABLE answers (other TEXT)")
    said: list[str] = []
    (spent,) = Journal(path, said.append).spent().values()
    assert spent.usd == pytest.approx(0.004)
    assert "damaged" in said[0]
