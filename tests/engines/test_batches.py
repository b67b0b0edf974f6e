"""A model that is asked in batches: the same answers under the same keys, and nothing paid for twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cai.config.run_config import BudgetConfig, LabelConfig, ModelConfig
from cai.constitution.load import Constitution, Principle
from cai.constitution.templates import Templates
from cai.engines.backend import concurrency, fingerprint
from cai.engines.batches import pool
from cai.engines.batches.file_batches import FileBatches
from cai.engines.models import Models
from cai.engines.purse import Purse
from cai.engines.rehearsal import Part
from cai.pipeline.plan import Demand
from cai.run import spending
from cai.run.journal import Journal
from cai.stages.label import Labeler, label
from cai.values.errors import BudgetError, EngineError, ItemError
from cai.values.types import Comparison, Completion, Message, Prompt
from tests.engines.batch_asking import MANY, PRICE, QUICK, ask, model, request, serving
from tests.engines.batch_stub import Answer, Body, Desk
from tests.engines.messages_stub import Claude, error
from tests.engines.responses_stub import message as item
from tests.engines.responses_stub import response
from tests.engines.server_stubs import MessagesProvider, Provider, truth

ROOT = Path(__file__).parents[2]
KINDS = ("openai", "openai-responses", "anthropic")
TOKENS = 5  # of an answer: three read, two written


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "TIMING", QUICK)


def chat(words: str) -> Body:
    said = {"message": {"role": "assistant", "content": words}, "finish_reason": "stop"}
    return {"choices": [said], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def said_by(body: Body) -> str:
    """An echo of the question."""
    return str((body.get("messages") or body["input"])[-1]["content"])


def answering(kind: str) -> Any:
    def answer(body: Body) -> Answer:
        if kind == "anthropic":
            return Claude(said_by)(body)
        if kind == "openai-responses":
            return 200, response(item(said_by(body)))
        return 200, chat(said_by(body))

    return answer


def desk(kind: str = "openai", **settings: Any) -> Desk:
    return Desk(settings.pop("answer", answering(kind)), messages=kind == "anthropic", **settings)


def texts(answers: list[Completion | BaseException]) -> list[str]:
    return [answer.text if isinstance(answer, Completion) else repr(answer) for answer in answers]


WANTED = [f"Question {n}?" for n in range(MANY)]


def of(found: Desk, n: int) -> int:
    """How often the answer to question ``n`` was paid for."""
    return sum(count for body, count in found.paid.items() if f"Question {n}?" in body)


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_come_by_batch_under_their_ordinary_keys_at_half_the_price(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, service = tmp_path / "journal.sqlite", desk(kind)
    async with serving(service) as url:
        assert texts(await ask(path, model(url, kind, price=PRICE))) == WANTED
        assert [len(made.rows) for made in service.batches] == [MANY - 1]
        assert [said_by(body) for body in service.alone] in (WANTED[:1], WANTED[:1] * 2)  # it learns alone
        count = len(service.seen)
        assert texts(await ask(path, model(url, kind, batch=False))) == WANTED  # the journal's, for both
        assert len(service.seen) == count
    spent = spending.total(spending.read(path).values())
    one = (3 * 1.0 + 2 * 2.0) / 1e6
    assert spent.usd == pytest.approx(one + (MANY - 1) * one / 2)
    assert any("5 requests is sent, at half the price" in record.getMessage() for record in caplog.records)


def test_a_batch_is_no_other_model_and_waits_for_many() -> None:
    whole, batched = model("http://127.0.0.1:9/v1", batch=False), model("http://127.0.0.1:9/v1")
    assert fingerprint(whole) == fingerprint(batched)
    assert (concurrency(whole), concurrency(batched)) == (64, 50_000)
    assert concurrency(model("http://127.0.0.1:9/v1", max_concurrency=7)) == 7


async def test_a_rehearsal_is_not_sent_as_a_batch(tmp_path: Path) -> None:
    service = desk()
    async with serving(service) as url:
        with closing(Journal(tmp_path / "j.sqlite")) as journal:
            parts = [Part("critic", model(url))]
            models = Models(journal, Purse(BudgetConfig(), journal), parts)
            engine = models.engine(model(url))
            await asyncio.gather(*(engine.complete(request(n)) for n in range(3)))
            await models.close()
    assert [said_by(body) for body in service.alone] == ["Say hello in one word.", "Question 0?"]
    assert [len(made.rows) for made in service.batches] == [2]


# --- Killed ---------------------------------------------------------------------------------

MOMENTS = ("upload", "create", "created", "poll", "fetch")


@pytest.mark.parametrize(
    ("kind", "moment"),
    [("openai", moment) for moment in MOMENTS] + [("anthropic", moment) for moment in MOMENTS[1:]],
)
async def test_a_command_that_is_killed_pays_for_nothing_twice(
    tmp_path: Path, kind: str, moment: str
) -> None:
    """The server kills the client (SIGKILL) when it is asked to do ``moment``, before it answers."""
    path, service = tmp_path / "journal.sqlite", desk(kind)
    running: list[asyncio.subprocess.Process] = []

    def kill(event: str) -> Answer | None:
        if event == moment and len(running) == 1:
            os.kill(running[0].pid, signal.SIGKILL)
            return 0, None
        return None

    service.on = kill

    async def command(url: str) -> tuple[int, str]:
        program = (sys.executable, "-m", "tests.engines.batch_asking", str(path), kind, url)
        pipe = asyncio.subprocess.PIPE
        running.append(await asyncio.create_subprocess_exec(*program, cwd=ROOT, stdout=pipe, stderr=pipe))
        out, _ = await running[-1].communicate()
        code = running[-1].returncode
        assert code is not None
        return code, out.decode()

    async with serving(service) as url:
        assert (await command(url))[0] == -signal.SIGKILL
        code, out = await command(url)
    assert code == 0 and out.split("\n")[:-1] == WANTED
    assert [of(service, n) for n in range(MANY)] == [1] * MANY
    spent = spending.total(spending.read(path).values())
    assert spent.tokens == sum(service.paid.values()) * TOKENS
    if moment in ("created", "poll", "fetch"):
        assert sum(len(made.rows) for made in service.batches) == MANY - 1  # the first one went alone


async def test_ctrl_c_leaves_a_batch_running_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, service, polled = tmp_path / "journal.sqlite", desk(polls=10**6), asyncio.Event()
    service.on = lambda event: polled.set() if event == "poll" else None
    async with serving(service) as url:
        task = asyncio.create_task(ask(path, model(url)))
        await polled.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        said = [record.getMessage() for record in caplog.records]
        assert any("a batch of 5 requests in all left under way" in one for one in said)
        service.batches[0].polls = 0
        caplog.clear()
        assert texts(await ask(path, model(url))) == WANTED
    assert any("was sent before; waiting for it" in record.getMessage() for record in caplog.records)
    assert [of(service, n) for n in range(MANY)] == [1] * MANY and len(service.batches) == 1


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("lost", ["the question", "the answer"])
async def test_a_dropped_connection_makes_no_second_batch(tmp_path: Path, kind: str, lost: str) -> None:
    service, dropped = desk(kind), []

    def drop(event: str) -> Answer | None:
        if event == ("create" if lost == "the question" else "created") and not dropped:
            dropped.append(event)
            return 0, None
        return None

    service.on = drop
    async with serving(service) as url:
        assert texts(await ask(tmp_path / "j.sqlite", model(url, kind))) == WANTED
    assert dropped and [len(made.rows) for made in service.batches] == [MANY - 1]


@pytest.mark.parametrize("moment", ["create", "created"])
async def test_another_command_s_batch_of_the_same_size_is_not_taken_for_ours(
    tmp_path: Path, moment: str
) -> None:
    """Anthropic's API tells batches apart by their results alone; here the newest one is another's."""
    service, lost = desk("anthropic"), []

    def lose(event: str) -> Answer | None:
        if event != moment or lost:
            return None
        lost.append(event)
        params = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Mine?"}]}
        rows = [{"custom_id": f"other-{n}", "params": params} for n in range(MANY - 1)]
        service._create({"requests": rows})
        return 0, None

    service.on = lose
    async with serving(service) as url:
        assert texts(await ask(tmp_path / "j.sqlite", model(url, "anthropic"))) == WANTED
    assert lost and len(service.batches) == 2
    assert [of(service, n) for n in range(MANY)] == [1] * MANY


async def test_a_damaged_journal_keeps_what_is_pending(tmp_path: Path) -> None:
    path, service, polled = tmp_path / "journal.sqlite", desk(polls=10**6), asyncio.Event()
    service.on = lambda event: polled.set() if event == "poll" else None
    async with serving(service) as url:
        task = asyncio.create_task(ask(path, model(url)))
        await polled.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE answers")
            db.execute("CREATE TABLE answers (other TEXT)")
        service.batches[0].polls = 0
        assert texts(await ask(path, model(url))) == WANTED
    assert [of(service, n) for n in range(1, MANY)] == [1] * (MANY - 1) and len(service.batches) == 1


def test_the_plan_counts_half() -> None:
    whole, half = (model("http://127.0.0.1:9/v1", price=PRICE, batch=batch) for batch in (False, True))
    assert (
        Demand("revise", whole, 10, 1e6, 1e6).usd
        == 3.0
        == 2 * (Demand("revise", half, 10, 1e6, 1e6).usd or 0)
    )


# --- Rows and batches that come to nothing --------------------------------------------------


def once(fate: Any) -> Any:
    """``fate`` of question 3, the first time."""
    left = [fate]
    return lambda body: left.pop() if "Question 3?" in said_by(body) and left else ""


def always(fate: Any) -> Any:
    return lambda body: fate if "Question 3?" in said_by(body) else ""


BUSY = {
    "openai": (500, {"error": {"message": "Oops."}}),
    "anthropic": error(529, "overloaded_error", "Busy."),
}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("fate", ["expired", "lost", "broken", "busy"])
async def test_what_may_yet_be_answered_goes_into_the_next_batch(
    tmp_path: Path, kind: str, fate: str
) -> None:
    service = desk(kind, fate=once(BUSY[kind] if fate == "busy" else fate))
    async with serving(service) as url:
        assert texts(await ask(tmp_path / "j.sqlite", model(url, kind))) == WANTED
    assert [len(made.rows) for made in service.batches] == [MANY - 1, 1]


async def test_not_for_ever(tmp_path: Path) -> None:
    service = desk(fate=always("expired"))
    async with serving(service) as url:
        found = await ask(tmp_path / "j.sqlite", model(url))
    assert isinstance(found[3], ItemError) and "expired" in str(found[3]) and "in 3 batches" in str(found[3])
    assert [of(service, n) for n in range(MANY)] == [1, 1, 1, 0, 1, 1]
    assert [len(made.rows) for made in service.batches] == [MANY - 1, 1, 1]


MODERATED = {
    "openai": (400, {"error": {"message": "Flagged.", "code": "content_filter"}}),
    "anthropic": error(400, "invalid_request_error", "prompt is too long: 300000 tokens > 200000 maximum"),
}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_request_s_own_fault_is_its_own(tmp_path: Path, kind: str) -> None:
    service = desk(kind, fate=always(MODERATED[kind]))
    async with serving(service) as url:
        found = await ask(tmp_path / "j.sqlite", model(url, kind))
        assert isinstance(found[3], ItemError) and "refuses this request" in str(found[3])
        assert texts(found[:3] + found[4:]) == WANTED[:3] + WANTED[4:]
        service.fate = lambda body: ""
        assert texts(await ask(tmp_path / "j.sqlite", model(url, kind))) == WANTED  # sent anew, and alone
    assert [of(service, n) for n in range(MANY)] == [1] * MANY


async def test_a_reply_that_is_none_is_quarantined_and_asked_again_by_the_next_command(
    tmp_path: Path,
) -> None:
    refused = chat("")
    refused["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "No."}
    service = desk(fate=once((200, refused)))
    async with serving(service) as url:
        found = await ask(tmp_path / "j.sqlite", model(url))
        assert isinstance(found[3], ItemError) and "the model refused" in str(found[3])
        assert texts(await ask(tmp_path / "j.sqlite", model(url))) == WANTED


async def test_a_fault_for_all_stops(tmp_path: Path) -> None:
    money = (429, {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}})
    service = desk(fate=always(money))
    async with serving(service) as url:
        found = await ask(tmp_path / "j.sqlite", model(url))
    assert isinstance(found[3], EngineError) and "wants money" in str(found[3])


async def test_a_dialect_is_learned_from_a_batch_too(tmp_path: Path) -> None:
    """What the first request does not show: a value that only some have."""

    def answer(body: Body) -> Answer:
        if "Question 3?" in said_by(body) and "temperature" in body:
            return 400, {"error": {"message": "Unsupported parameter: 'temperature'", "param": "temperature"}}
        return 200, chat(said_by(body))

    service = desk(answer=answer)
    async with serving(service) as url:
        assert texts(await ask(tmp_path / "j.sqlite", model(url))) == WANTED
    assert [len(made.rows) for made in service.batches] == [MANY - 1, 1]


async def test_a_batch_that_is_declined_for_some_lines_is_sent_without_them(tmp_path: Path) -> None:
    def complaint(bodies: list[Body]) -> list[Body]:
        lines = [n for n, body in enumerate(bodies, 1) if "Question 3?" in said_by(body)]
        return [{"code": "invalid_request", "message": "Not this.", "line": n, "param": None} for n in lines]

    service = desk(complaint=complaint)
    async with serving(service) as url:
        found = await ask(tmp_path / "j.sqlite", model(url))
    assert isinstance(found[3], ItemError) and "Not this." in str(found[3])
    assert texts(found[:3] + found[4:]) == WANTED[:3] + WANTED[4:]
    assert [of(service, n) for n in range(MANY)] == [1, 1, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("complaint", "words"),
    [
        ({"code": "model_not_found", "message": "The model `m` does not exist"}, "has no such model"),
        ({"code": "empty_file", "message": "The file is empty"}, "declines the batch (The file is empty)"),
        ({"code": "odd", "message": "Line 99 is odd", "line": 99}, "declines the batch (Line 99 is odd)"),
    ],
)
async def test_a_batch_that_is_declined_as_a_whole_stops(tmp_path: Path, complaint: Body, words: str) -> None:
    service = desk(complaint=lambda bodies: [complaint])
    async with serving(service) as url:
        found = await ask(tmp_path / "j.sqlite", model(url))
    assert isinstance(found[3], EngineError) and words in str(found[3])
    assert len(service.batches) == 1


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_batch_that_was_cancelled_stops_and_the_next_command_asks_for_the_rest(
    tmp_path: Path, kind: str
) -> None:
    service = desk(kind, fate=once("cancelled"))
    async with serving(service) as url:
        found = await ask(tmp_path / "j.sqlite", model(url, kind))
        assert isinstance(found[3], EngineError) and "batch_1 was cancelled" in str(found[3])
        assert texts(await ask(tmp_path / "j.sqlite", model(url, kind))) == WANTED
    assert [of(service, n) for n in range(MANY)] == [1] * MANY


async def test_a_batch_that_is_gone_is_not_paid_for_again_without_a_word(tmp_path: Path) -> None:
    service, polled = desk(polls=10**6), asyncio.Event()
    service.on = lambda event: polled.set() if event == "poll" else None
    path = tmp_path / "j.sqlite"
    async with serving(service) as url:
        task = asyncio.create_task(ask(path, model(url)))
        await polled.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        (gone,) = service.batches
        service.batches.clear()  # as another account sees it
        found = await ask(path, model(url))
        told = [str(answer) for answer in found if isinstance(answer, BaseException)]
        assert len(told) == MANY - 1 and "Is the key that of the account which sent it?" in told[0]
        assert service.batches == []
        with closing(Journal(path)) as journal:
            journal.rows("UPDATE batches SET created = created - 31 * 86400")
        service.polls = 1
        assert texts(await ask(path, model(url))) == WANTED  # no service keeps results for so long
    assert gone.id == "batch_1"


# --- Limits ---------------------------------------------------------------------------------


async def test_limits_of_rows_and_bytes_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileBatches, "most_rows", 4)
    service = desk()
    async with serving(service) as url:
        await ask(tmp_path / "rows.sqlite", model(url), range(10))
        assert sorted(len(made.rows) for made in service.batches) == [1, 4, 4]
        monkeypatch.setattr(FileBatches, "most_rows", 50_000)
        line = len(FileBatches.line(None, "x" * 64, "/chat/completions", service.batches[0].rows[0][1]))  # type: ignore[arg-type]
        monkeypatch.setattr(FileBatches, "most_bytes", line * 3)
        service.batches.clear()
        await ask(tmp_path / "bytes.sqlite", model(url), range(10))
        assert sorted(len(made.rows) for made in service.batches) == [3, 3, 3]
        monkeypatch.setattr(FileBatches, "most_bytes", 100)
        found = await ask(tmp_path / "small.sqlite", model(url), range(3))
    assert [isinstance(answer, ItemError) for answer in found] == [False, True, True]


async def test_a_service_that_has_room_for_little_gets_less_at_a_time(tmp_path: Path) -> None:
    service = desk(room=3)
    async with serving(service) as url:
        assert texts(await ask(tmp_path / "j.sqlite", model(url), range(12))) == [
            f"Question {n}?" for n in range(12)
        ]
    done = [made for made in service.batches if made.status == "completed"]
    assert all(len(made.rows) <= 3 for made in done) and sum(len(made.rows) for made in done) == 11
    assert sum(service.paid.values()) == 12


async def test_a_budget_holds_for_batches_and_what_was_sent_is_fetched_whatever_it_is(tmp_path: Path) -> None:
    path, service = tmp_path / "j.sqlite", desk()
    async with serving(service) as url:
        found = await ask(path, model(url), range(10), budget=TOKENS * 4)
        paid = [answer for answer in found if isinstance(answer, Completion)]
        assert len(paid) == 4 == sum(service.paid.values())
        assert all(isinstance(answer, BudgetError) for answer in found if not isinstance(answer, Completion))
        polled = asyncio.Event()
        service.polls, service.on = 10**6, lambda event: polled.set() if event == "poll" else None
        task = asyncio.create_task(ask(path, model(url), range(10)))
        await polled.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        service.batches[-1].polls = 0
        kept = await ask(path, model(url), range(10), budget=TOKENS * 4)
    assert texts(kept) == [f"Question {n}?" for n in range(10)]
    assert sum(service.paid.values()) == 10


async def test_a_server_without_batches_says_what_to_do(tmp_path: Path) -> None:
    service = desk()
    service.on = lambda event: (404, {"error": {"message": "Not found"}}) if event == "upload" else None
    async with serving(service) as url:
        found = await ask(tmp_path / "j.sqlite", model(url))
    assert isinstance(found[1], EngineError) and "batch: false" in str(found[1])


# --- Labels ---------------------------------------------------------------------------------

PAIR = Comparison("p1/0-1", Prompt("p1", (Message("user", "How?"),)), "quality 4", "quality 2")
KIND = Constitution("c", "", (Principle("kind", "Be kind.", "critique", "revise", "Which is kinder?"),))


async def labeled(path: Path, config: ModelConfig, label_config: LabelConfig) -> Any:
    with closing(Journal(path)) as journal:
        models = Models(journal, Purse(BudgetConfig(), journal))
        labeler = Labeler(models.engine(config), Templates.load(), label_config)
        try:
            pairs = [PAIR, Comparison("p2/0-1", PAIR.prompt, "quality 1", "quality 1 as well")]
            return await asyncio.gather(*(label(pair, labeler, KIND, 0) for pair in pairs))
        finally:
            await models.close()


async def test_labels_by_log_probabilities_come_by_batch(tmp_path: Path) -> None:
    provider = Provider("p", "", lists="chat", constrains=frozenset({"json_schema"}))
    service = desk(answer=provider.answer)
    async with serving(service) as url:
        found = await labeled(tmp_path / "j.sqlite", model(url), LabelConfig(few_shot=0))
    assert found[0].p == pytest.approx(truth("quality 4 quality 2"), abs=1e-3)
    (made,) = service.batches
    assert len(made.rows) == 3 and all(body["logprobs"] for _, body in made.rows)


async def test_labels_by_verdicts_come_by_batch_each_of_them_once(tmp_path: Path) -> None:
    """Anthropic's has no seeds: eight questions are the same to the last letter, and eight all the same."""
    provider = MessagesProvider("p", "", claude=Claude())
    service = desk("anthropic", answer=provider.answer)
    async with serving(service) as url:
        config = model(url, "anthropic")
        found = await labeled(tmp_path / "j.sqlite", config, LabelConfig(few_shot=0, samples=8))
        paid = service.paid.total()
        assert await labeled(tmp_path / "j.sqlite", config, LabelConfig(few_shot=0, samples=8)) == found
        assert service.paid.total() == paid
    assert found[0].p > 0.6
    (made,) = service.batches
    assert len(made.rows) == 2 * 2 * 8 - 1 and len({json.dumps(body) for _, body in made.rows}) == 4


# --- Faithfulness ---------------------------------------------------------------------------


async def test_what_is_sent_and_answered_is_as_the_official_types_have_it(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    pytest.importorskip("anthropic")
    from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
    from anthropic.types.messages.batch_create_params import BatchCreateParams as Messages
    from openai.types import Batch, BatchCreateParams, FileObject
    from pydantic import TypeAdapter

    files, messages = desk(fate=once("expired")), desk("anthropic", fate=once("expired"))
    for kind, service in (("openai", files), ("anthropic", messages)):
        shown: list[tuple[str, str, bytes, Any]] = []

        def watched(*asked: Any, service: Desk = service, shown: Any = shown) -> Answer:
            status, answer = service(*asked)
            shown.append((asked[0], asked[1].partition("?")[0].removeprefix("/v1"), asked[3], answer))
            return status, answer

        async with serving(watched) as url:  # type: ignore[arg-type]
            assert texts(await ask(tmp_path / kind, model(url, kind))) == WANTED
        for method, path, raw, answer in shown:
            if path == "/files":
                FileObject.model_validate(answer)
            elif path.startswith("/batches"):
                if method == "POST":
                    TypeAdapter(BatchCreateParams).validate_json(raw)
                Batch.model_validate(answer)
            elif path.endswith("/results"):
                for line in answer.splitlines():
                    MessageBatchIndividualResponse.model_validate_json(line)
            elif path.startswith("/messages/batches"):
                if method == "POST":
                    TypeAdapter(Messages).validate_json(raw)
                MessageBatch.model_validate(answer)
