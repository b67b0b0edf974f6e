"""A journal that is damaged anywhere: what can be read is kept, the rest is asked again, nothing stops."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai.engines.journaled import JournaledEngine
from cai.report.sections.funnel import calls_table
from cai.run import salvage
from cai.run.journal import Journal, key
from cai.values.errors import CaiError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest, Message, Sampling

PAGE = 4096


@cache
def text_of(number: int) -> str:
    """From a word to several pages, some of it outside ASCII."""
    return f"{number}: " + "".join(random.Random(number).choices("abcdefgh ü", k=20 + number % 9 * 900))


ASKED: list[CompletionRequest | ChoiceRequest] = [
    *(CompletionRequest((Message("user", f"prompt {n}"),), Sampling(), seed=n) for n in range(70)),
    *(ChoiceRequest((Message("user", f"which? {n}"),), ("A", "B")) for n in range(30)),
]


class Model:
    """Answers by the request's number, and counts."""

    name = "model"
    fingerprint = "model-1"

    def __init__(self) -> None:
        self.asked = 0

    async def complete(self, request: CompletionRequest) -> Completion:
        self.asked += 1
        return Completion(text_of(request.seed), "stop", 3, 2)

    async def choose(self, request: ChoiceRequest) -> Choice:
        self.asked += 1
        return Choice((-0.1 * int(request.messages[0].content.split()[1]), -2.5), 7)

    async def close(self) -> None:
        pass


async def ask_all(path: Path, said: list[str]) -> int:
    """Ask everything once more, check every answer → how many the model was asked for."""
    model = Model()

    async def open() -> Model:
        return model

    with closing(Journal(path, said.append)) as journal:
        engine = JournaledEngine(model.name, model.fingerprint, open, journal)
        for request in ASKED:
            if isinstance(request, CompletionRequest):
                assert (await engine.complete(request)).text == text_of(request.seed)
            else:
                assert (await engine.choose(request)).logprobs == (await Model().choose(request)).logprobs
    return model.asked


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import asyncio

    path = tmp_path_factory.mktemp("whole") / "journal.sqlite"
    assert asyncio.run(ask_all(path, [])) == len(ASKED)
    assert path.stat().st_size > 60 * PAGE
    return path


def copied(whole: Path, to: Path) -> Path:
    return Path(shutil.copy(whole, to))


def touched(path: Path, start: int, end: int) -> int:
    """How many answers lie, in part, in the stretch from ``start`` to ``end``."""
    return sum(any(low < end and start < high for low, high in row) for row in stretches(path))


@cache
def stretches(path: Path) -> list[list[tuple[int, int]]]:
    """Where each row lies: one in one piece to the byte, of a long one the pages that hold any of it."""
    data = path.read_bytes()
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT key || engine || verb || request || answer FROM answers").fetchall()
    found = []
    for content in (row[0].encode() for row in rows):
        if (at := data.find(content)) >= 0:
            found.append(
                [(at - 24, at + len(content) + 40)]
            )  # its header before; time, stage and seal behind
            continue
        parts = (data.find(content[n : n + 24]) // PAGE for n in range(0, len(content), 300))
        pages = {page + step for page in parts if page >= 0 for step in (0, 1)}
        found.append([(page * PAGE, (page + 1) * PAGE) for page in pages])
    return found


JUNK: dict[str, Callable[[int], bytes]] = {
    "noise": lambda n: random.Random(n).randbytes(n),
    "zeros": bytes,
    "letters": lambda n: b"x" * n,
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.sampled_from([1, 40, 700, PAGE, 5 * PAGE]), st.sampled_from(sorted(JUNK)))
async def test_junk_anywhere_costs_what_it_hits(
    whole: Path, tmp_path: Path, place: float, length: int, junk: str
) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    data = bytearray(whole.read_bytes())
    start = int(place * (len(data) - length))
    data[start : start + length] = JUNK[junk](length)
    path = tmp_path / "journal.sqlite"
    path.write_bytes(data)

    said: list[str] = []
    asked = await ask_all(path, said)

    assert asked <= touched(whole, start, start + length)
    assert len(said) <= 2 and (said or not asked)  # nothing is asked again in silence
    assert not any("\n" in line for line in said)
    if any("damaged" in line for line in said):
        assert (tmp_path / "journal.sqlite.damaged").read_bytes()[start : start + length] == JUNK[junk](
            length
        )
    assert await ask_all(path, said) == 0
    assert len(said) <= 2


@pytest.mark.parametrize("left", [0.01, 0.3, 0.5, 0.99])
async def test_a_truncated_journal_keeps_what_is_left(whole: Path, tmp_path: Path, left: float) -> None:
    data = whole.read_bytes()
    size = int(left * len(data))
    path = tmp_path / "journal.sqlite"
    path.write_bytes(data[:size])
    said: list[str] = []
    assert await ask_all(path, said) <= touched(whole, size, len(data))
    assert len(said) == 1 and "journal.sqlite.damaged" in said[0]
    assert await ask_all(path, said) == 0


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look at" * 100, bytes(9000)])
async def test_what_is_no_journal_is_absent(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    said: list[str] = []
    assert await ask_all(path, said) == len(ASKED)
    assert await ask_all(path, said) == 0
    assert len(said) == bool(content)
    assert not content or (tmp_path / "journal.sqlite.damaged").read_bytes() == content


@pytest.mark.parametrize(
    "answer", ["", "{}", "not JSON", "[1]", '{"text": 3, "finish": "stop"}', '{"reply": "of an older shape"}']
)
@pytest.mark.parametrize("sealed", [True, False])
async def test_a_single_unreadable_answer_is_asked_again(
    whole: Path, tmp_path: Path, answer: str, sealed: bool
) -> None:
    path = copied(whole, tmp_path / "journal.sqlite")
    names = [key("model-1", request) for request in (ASKED[3], ASKED[80])]
    with closing(sqlite3.connect(path)) as db, db:
        for name in names:
            seal = salvage.seal(name, answer) if sealed else ""
            db.execute("UPDATE answers SET answer = ?, seal = ? WHERE key = ?", (answer, seal, name))
    said: list[str] = []
    assert await ask_all(path, said) == 2
    assert said == [f"{path}: 2 answers could not be read; asked again"]
    assert await ask_all(path, said) == 0 and len(said) == 1


def test_the_report_counts_the_answers_that_can_be_read(whole: Path, tmp_path: Path) -> None:
    path = copied(whole, tmp_path / "journal.sqlite")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE answers SET answer = '{' WHERE key = ?", (key("model-1", ASKED[3]),))
    table = calls_table(path)
    assert table is not None and sorted(row[3].text for row in table.rows) == ["30", "69"]


async def test_an_answer_that_was_changed_and_still_reads_is_asked_again(whole: Path, tmp_path: Path) -> None:
    path = copied(whole, tmp_path / "journal.sqlite")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE answers SET answer = replace(answer, 'stop', 'halt')")
        assert db.execute("SELECT COUNT(*) FROM answers WHERE answer LIKE '%halt%'").fetchone()[0] == 70
    assert await ask_all(path, []) == 70


async def test_an_older_shape_with_fewer_counts_is_still_an_answer(whole: Path, tmp_path: Path) -> None:
    path = copied(whole, tmp_path / "journal.sqlite")
    request = ASKED[80]
    with closing(sqlite3.connect(path)) as db, db:
        answer = json.dumps({"logprobs": [-0.1 * 10, -2.5]})
        where = (answer, key("model-1", request))
        db.execute("UPDATE answers SET answer = ?, seal = '' WHERE key = ?", where)
    assert await ask_all(path, []) == 0


@pytest.fixture
async def logged(tmp_path: Path) -> Path:
    """A journal whose log holds nearly everything."""
    path = tmp_path / "source" / "journal.sqlite"
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN")
    other.execute(
        "SELECT * FROM sqlite_master"
    ).fetchall()  # a reader: nothing is moved to the file meanwhile
    await ask_all(path, [])
    home = tmp_path / "killed"
    home.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        shutil.copy(path.with_name(name), home / name)
    other.close()
    assert (home / "journal.sqlite-wal").stat().st_size > 100 * PAGE
    return home / path.name


async def test_a_log_that_a_kill_left_is_read_without_a_word(logged: Path) -> None:
    said: list[str] = []
    assert await ask_all(logged, said) == 0
    assert said == []


@pytest.mark.parametrize("place", [0.0, 0.02, 0.2, 0.6, 0.99])
async def test_a_torn_log_costs_the_torn_answers_alone(logged: Path, place: float) -> None:
    log = logged.with_name("journal.sqlite-wal")
    data = bytearray(log.read_bytes())
    start = int(place * (len(data) - 64))
    data[start : start + 64] = random.Random(1).randbytes(64)
    log.write_bytes(data)
    said: list[str] = []
    assert await ask_all(logged, said) <= 2
    assert len(said) <= 1
    assert await ask_all(logged, said) == 0


async def test_a_log_beside_a_file_of_junk(logged: Path) -> None:
    logged.write_bytes(b"junk" * 2000)
    said: list[str] = []
    assert await ask_all(logged, said) == 0
    assert said == []  # the log has every page: SQLite reads the whole journal from it


async def test_a_log_beside_an_empty_file(logged: Path) -> None:
    logged.write_bytes(b"")
    said: list[str] = []
    assert await ask_all(logged, said) == 0


async def test_a_kill_in_the_middle_of_mending_loses_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(whole.read_bytes())
    data[:200] = bytes(200)
    for step in ("copy2", "replace"):
        home = tmp_path / step
        home.mkdir()
        path = home / "journal.sqlite"
        path.write_bytes(data)
        with monkeypatch.context() as patch:
            owner: object = shutil if step == "copy2" else Path

            def kill(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(owner, step, kill)
            with pytest.raises(KeyboardInterrupt):
                Journal(path, print)
        assert await ask_all(path, []) == 0


async def test_damage_that_shows_in_the_middle_of_a_run(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the first look missed it: the run goes on with the mended journal."""
    path = tmp_path / "journal.sqlite"
    data = bytearray(whole.read_bytes())
    data[20 * PAGE : 20 * PAGE + 8] = b"\xff" * 8
    path.write_bytes(data)
    plain = Journal._open
    monkeypatch.setattr(Journal, "_open", lambda self, check=False: plain(self))
    said: list[str] = []
    assert await ask_all(path, said) <= touched(whole, 20 * PAGE, 20 * PAGE + 8)
    assert await ask_all(path, said) == 0


async def test_an_older_journal_is_saved_too(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE answers (key TEXT PRIMARY KEY, engine TEXT NOT NULL, verb TEXT NOT NULL, "
            "request TEXT NOT NULL, answer TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID"
        )
        db.execute("ATTACH ? AS other", (str(whole),))
        names = "key, engine, verb, request, answer, created"
        db.execute(f"INSERT INTO answers SELECT {names} FROM other.answers")
    with path.open("r+b") as file:
        file.write(bytes(200))
    said: list[str] = []
    assert await ask_all(path, said) == 0
    assert "100 answers of it are kept" in said[0]


def test_a_folder_in_its_place_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").mkdir()
    with pytest.raises(CaiError, match="cannot be used as a journal"):
        Journal(tmp_path / "journal.sqlite", print)
