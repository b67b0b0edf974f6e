"""The log of votes: append-only, what a vote comes to, and files that are no log or a damaged one."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner
from voting_run import make_run, pair

from cai.cli.app import app
from cai.data.verdicts import BOTH_BAD
from cai.human.exchange import store
from cai.human.exchange.importing import read_votes
from cai.human.pairs import pair_key
from cai.human.votes.log import Choice, Vote, VoteLog, content_hash, preferences, repeats, standing
from cai.run.folder import RunFolder
from cai.values.errors import CaiError, UsageError
from cai.values.types import Comparison, Judgement, Source

ONE = pair(1)


def vote(number: int, choice: Choice = "first", comparison: Comparison = ONE, **more: object) -> Vote:
    made = Vote(f"u{number}", "rosa", f"i-{comparison.id}", content_hash(comparison), "q", "Q?", "a", choice)
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("choice", "first", "strength", "p"),
    [
        ("first", "a", None, 1.0),
        ("first", "b", None, 0.0),
        ("second", "a", None, 0.0),
        ("second", "b", None, 1.0),
        ("tie", "b", None, 0.5),
        # 1/2 + k/(2·3) for k = 1, 2, 3, from a's side
        ("first", "a", 1, 0.666666666667),
        ("second", "a", 1, 0.333333333333),
        ("first", "b", 2, 0.166666666667),
        ("second", "b", 3, 1.0),
    ],
)
def test_a_vote_becomes_p_of_a_and_keeps_the_order_of_showing(
    tmp_path: Path, choice: Choice, first: str, strength: int | None, p: float
) -> None:
    log = VoteLog(tmp_path / "votes.sqlite")
    log.cast(vote(1, choice, shown_first=first, strength=strength, reason="Because."), ONE)
    (got,) = preferences(log.path)
    assert got.p == p
    assert got.judgements == ((Judgement("q", p, None) if first == "a" else Judgement("q", None, p)),)
    assert (got.comparison, got.source, got.raw) == (ONE, Source("human", "rosa"), "Because.")


def test_both_bad_is_unscored_and_a_skip_is_no_preference(tmp_path: Path) -> None:
    log = VoteLog(tmp_path / "votes.sqlite")
    log.cast(vote(1, "both bad"), ONE)
    log.cast(vote(2, "skip", pair(2)), pair(2))
    (got,) = preferences(log.path)
    assert (got.p, got.unscored, got.raw) == (None, BOTH_BAD, None)
    assert got.judgements == (Judgement("q", None, None),)
    assert [v.choice for v, _ in standing(log.path)] == ["both bad", "skip"]


def test_order_is_that_of_casting_and_repeats_are_told(tmp_path: Path) -> None:
    log = VoteLog(tmp_path / "votes.sqlite")
    for number in (5, 3, 4):
        log.cast(vote(number, comparison=pair(number)), pair(number))
    log.cast(vote(6, "second", pair(5), repeat=True), pair(5))
    assert [p.comparison.id for p in preferences(log.path)] == ["c-5", "c-3", "c-4", "c-5"]
    assert repeats(log.path) == {("rosa", pair_key(pair(5)))}
    with sqlite3.connect(log.path) as db:
        assert db.execute("SELECT COUNT(*) FROM pairs").fetchone() == (3,)


def test_undo_is_a_row_and_nothing_is_ever_changed(tmp_path: Path) -> None:
    log = VoteLog(tmp_path / "votes.sqlite")
    log.cast(vote(1), ONE)
    log.cast(vote(2, comparison=pair(2)), pair(2))
    log.take_back("rosa", {"back": "u1"})
    assert [v.uuid for v in log.standing] == ["u2"] == [v.uuid for v, _ in standing(log.path)]
    with pytest.raises(CaiError, match="not stored"):
        log.take_back("rosa", {"again": "u1"})
    with pytest.raises(CaiError, match="not stored"):
        log.cast(vote(2, comparison=pair(3)), pair(3))
    with sqlite3.connect(log.path) as db:
        rows = db.execute("SELECT uuid, choice, takes_back FROM log ORDER BY number").fetchall()
        for statement in ("UPDATE log SET choice = 'tie'", "DELETE FROM log", "DELETE FROM pairs"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed or deleted"):
                db.execute(statement)
    assert rows == [("u1", "first", None), ("u2", "first", None), ("back", None, "u1")]


def test_it_goes_on_where_it_stopped_and_syncs_every_commit(tmp_path: Path) -> None:
    log = VoteLog(tmp_path / "votes.sqlite")
    log.cast(vote(1), ONE)
    log.note("port", "1")
    log.note("port", "2")
    again = VoteLog(log.path)  # the first one is not closed, as after a kill
    assert [v.uuid for v in again.standing] == ["u1"]
    assert (again.recall("port"), again.recall("other"), again.author("u1")) == ("2", None, "rosa")
    assert again._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert again._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_texts_with_any_character_come_back(tmp_path: Path) -> None:
    strange = pair(1, a="nul \x00, half \ud83d, bidi \u202e, 🫖", b='"; DROP TABLE log; --')
    log = VoteLog(tmp_path / "votes.sqlite")
    log.cast(vote(1, comparison=strange, reason="🫖 'quoted'\n"), strange)
    (got,) = preferences(log.path)
    assert (got.comparison, got.raw) == (strange, "🫖 'quoted'\n")


def test_a_file_that_is_no_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    with pytest.raises(UsageError, match="no votes yet; cai annotate"):
        preferences(path)
    path.write_bytes(b"")
    assert preferences(path) == []
    path.write_text("not a database at all, but long enough to be read as one. " * 20)
    for read in (preferences, VoteLog):
        with pytest.raises(CaiError, match="cannot be read as a log of votes"):
            read(path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (x)")
    for read in (preferences, VoteLog):
        with pytest.raises(CaiError, match="not of votes"):
            read(path)


def test_a_log_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    VoteLog(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    for read in (preferences, VoteLog):
        with pytest.raises(CaiError, match=r"newer cai \(version 2"):
            read(path)


def test_a_damaged_page_is_an_error_and_not_a_missing_vote(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    log = VoteLog(path)
    for number in range(50):
        log.cast(vote(number, comparison=pair(number, a="x" * 500)), pair(number, a="x" * 500))
    log.close()
    data = bytearray(path.read_bytes())
    data[4096 * 3 :] = b"\xff" * (len(data) - 4096 * 3)
    path.write_bytes(data)
    with pytest.raises(CaiError, match="cannot be read as a log of votes"):
        preferences(path)


def test_votes_of_the_page_are_exported_beside_imported_ones(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [ONE, pair(2)])

    def export(*arguments: str) -> tuple[int, str]:
        command = ["export", str(run), "--to", str(tmp_path / "out.jsonl"), "--format", "cai", *arguments]
        done = CliRunner().invoke(app, command)
        return done.exit_code, str(done.exception) if done.exception else done.output

    code, said = export()
    assert code == 1 and "no vote in this run yet" in said and "--table preferences" in said
    log = VoteLog(run / "votes.sqlite")
    log.cast(vote(1), ONE)
    log.close()
    assert export() == (0, f"{tmp_path / 'out.jsonl'}: 1 rows of cai, 1 of 1 votes\n")
    store.write(RunFolder(run).table("human"), preferences(run / "votes.sqlite"))
    assert export()[1].endswith("2 of 2 votes\n")
    assert [read.comparison.a for read in read_votes(tmp_path / "out.jsonl")] == [ONE.a, ONE.a]


def test_a_format_where_a_place_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "run", [ONE])
    log = VoteLog(run / "votes.sqlite")
    log.cast(vote(1), ONE)
    log.close()
    for name in ("inspect", "argilla"):
        done = CliRunner().invoke(app, ["export", "run", "--to", name])
        assert isinstance(done.exception, UsageError)
        assert f"say --format {name} --to FILE_OR_FOLDER" in str(done.exception)
    for name in ("trl", "argilla"):  # a folder may be called after the format that is written
        done = CliRunner().invoke(app, ["export", "run", "--to", name, "--format", name])
        assert done.exit_code == 0, done.output
        assert (tmp_path / name / "README.md").exists()
