"""The journal: keys, permanence, and an engine that asks only what it must."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cai.engines.journaled import JournaledEngine
from cai.run.journal import Journal, asking_for, derive_seed, key
from cai.values.errors import CaiError, ItemError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest, Message, Sampling

ASK = CompletionRequest((Message("user", "hello"),), Sampling(), seed=1)
CHOOSE = ChoiceRequest((Message("user", "A or B?"),), ("A", "B"))


class Counting:
    """A real, tiny engine: it echoes, and counts how often it was asked."""

    name = "counting"
    fingerprint = "counting-1"

    def __init__(self, logprobs: tuple[float, ...] = (-0.1, -2.5)):
        self.asked = 0
        self.closed = 0
        self.logprobs = logprobs

    async def complete(self, request: CompletionRequest) -> Completion:
        self.asked += 1
        return Completion(f"{request.messages[-1].content}!", "stop", 3, 2)

    async def choose(self, request: ChoiceRequest) -> Choice:
        self.asked += 1
        return Choice(self.logprobs, 7)

    async def close(self) -> None:
        self.closed += 1


def journaled(journal: Journal, engine: Counting, fingerprint: str = "f") -> JournaledEngine:
    async def open() -> Counting:
        return engine

    return JournaledEngine(engine.name, fingerprint, open, journal)


@pytest.mark.parametrize(
    "changed",
    [
        replace(ASK, seed=2),
        replace(ASK, prefill="x"),
        replace(ASK, sampling=Sampling(temperature=0.5)),
        replace(ASK, sampling=Sampling(stop=("\n",))),
        replace(ASK, messages=(Message("assistant", "hello"),)),
    ],
)
def test_key_depends_on_everything_that_shapes_an_answer(changed: CompletionRequest) -> None:
    assert key("f", changed) != key("f", ASK)
    assert key("other", ASK) != key("f", ASK)


def test_greedy_key_ignores_the_seed() -> None:
    greedy = replace(ASK, sampling=Sampling(temperature=0.0))
    assert key("f", greedy) == key("f", replace(greedy, seed=99))


def test_key_is_stable_across_versions() -> None:
    # A changed key would silently throw away every journal in the world: change it knowingly.
    assert key("f", CHOOSE)[:16] == "cd751963fd3a3dd5"


def test_seeds_are_reproducible_and_spread() -> None:
    seeds = {derive_seed(0, "revise", f"p{i}", r) for i in range(1000) for r in range(4)}
    assert len(seeds) > 3990
    assert derive_seed(0, "a") == derive_seed(0, "a") != derive_seed(0, "b")
    assert all(0 <= seed < 2**31 for seed in seeds)


async def test_second_run_asks_nothing(tmp_path: Path) -> None:
    engine = Counting(logprobs=(-0.1234567890123456, -2.5))
    first = journaled(Journal(tmp_path / "j.sqlite"), engine)
    said, chose = await first.complete(ASK), await first.choose(CHOOSE)
    assert engine.asked == 2

    again = Counting()
    second = journaled(Journal(tmp_path / "j.sqlite"), again)
    assert await second.complete(ASK) == said
    assert await second.choose(CHOOSE) == chose  # floats come back bit for bit
    assert again.asked == 0
    assert second.meter.recalled == 2


async def test_what_is_bounded_comes_back_and_rows_of_before_are_read(tmp_path: Path) -> None:
    class Bounding(Counting):
        async def choose(self, request: ChoiceRequest) -> Choice:
            return Choice((-0.1, -9.0), 7, (False, True))

    first = journaled(Journal(tmp_path / "j.sqlite"), Bounding())
    chose = await first.choose(CHOOSE)
    assert await journaled(Journal(tmp_path / "j.sqlite"), Counting()).choose(CHOOSE) == chose
    assert chose.bounded == (False, True)

    journal = Journal(tmp_path / "before.sqlite")
    journal.put(key("f", CHOOSE), "counting", CHOOSE, {"logprobs": [-0.5, -1.0], "prompt_tokens": 3})
    earlier = {"text": "so", "finish": "stop", "prompt_tokens": 3, "completion_tokens": 1}
    journal.put(key("f", ASK), "counting", ASK, earlier)
    engine = Counting()
    assert await journaled(journal, engine).choose(CHOOSE) == Choice((-0.5, -1.0), 3)
    assert await journaled(journal, engine).complete(ASK) == Completion("so", "stop", 3, 1)
    assert engine.asked == 0


async def test_equal_requests_in_flight_are_asked_once(tmp_path: Path) -> None:
    import asyncio

    engine = Counting()
    under_test = journaled(Journal(tmp_path / "j.sqlite"), engine)
    answers = await asyncio.gather(*(under_test.complete(ASK) for _ in range(20)))
    assert engine.asked == 1
    assert len(set(answers)) == 1


async def test_answers_with_hostile_text_survive(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    under_test = journaled(journal, Counting())
    for text in ["", "\x00", "\ud800", "😀 مرحبا", "'; DROP TABLE answers;--"]:
        request = replace(ASK, messages=(Message("user", text),))
        assert (await under_test.complete(request)).text == f"{text}!"
        assert (await under_test.complete(request)).text == f"{text}!"
    assert len(journal) == 5


async def test_an_option_without_probability_is_an_item_error(tmp_path: Path) -> None:
    under_test = journaled(Journal(tmp_path / "j.sqlite"), Counting((-math.inf, 0.0)))
    with pytest.raises(ItemError, match="no probability"):
        await under_test.choose(CHOOSE)


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(CaiError, match=r"j\.sqlite.*cannot be used as a journal"):
        Journal(path)


def stages(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT key, stage FROM answers ORDER BY key").fetchall()


async def test_an_answer_is_booked_to_the_stage_that_asked_first(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        with asking_for("revise"):
            journal.put("a", "m", ASK, {})
        with asking_for("label"):
            journal.put("a", "m", ASK, {})
            journal.put("b", "m", ASK, {})
        journal.put("c", "m", ASK, {})
    assert stages(tmp_path / "journal.sqlite") == [("a", "revise"), ("b", "label"), ("c", "")]


def test_a_journal_from_before_stages_were_kept_goes_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as db, db:
        db.execute(
            "CREATE TABLE answers (key TEXT PRIMARY KEY, engine TEXT NOT NULL, verb TEXT NOT NULL, "
            "request TEXT NOT NULL, answer TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID"
        )
        db.execute("INSERT INTO answers VALUES ('a', 'm', 'choose', '{}', '{\"x\": 1}', 0)")
    with closing(Journal(tmp_path / "old.sqlite")) as journal:
        assert journal.get("a") == {"x": 1}
        with asking_for("label"):
            journal.put("b", "m", ASK, {})
    assert stages(tmp_path / "old.sqlite") == [("a", ""), ("b", "label")]
