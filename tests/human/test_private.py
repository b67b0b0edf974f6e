"""Who voted what can be read by the owner of a run and their group alone, whatever the umask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sample_votes import vote
from typer.testing import CliRunner
from voting_run import make_run, pair

from cai.cli.app import app
from cai.data import tables
from cai.human.agreement.agreement_report import agreement_of
from cai.human.collected import COLLECTED, IMPORTED
from cai.human.exchange import store
from cai.human.votes.log import Vote, VoteLog, content_hash
from cai.run.folder import RunFolder, atomic_write
from cai.values.types import Failure

VOTES = [vote(pair(n), who, n % 2, "kind") for n in range(24) for who in ("rosa", "otto")]


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_log_of_votes_and_what_sqlite_puts_beside_it(tmp_path: Path, umask: int) -> None:
    path = tmp_path / COLLECTED
    with closing(VoteLog(path)) as log:
        log.cast(Vote("u", "rosa", "i", content_hash(pair(1)), "q", "Q?", "a", "first"), pair(1))
        modes = {file.name: mode(file) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys((COLLECTED, f"{COLLECTED}-wal", f"{COLLECTED}-shm"), 0o660 & ~umask)
    path.chmod(0o644)  # by an earlier version
    with closing(VoteLog(path)):
        assert mode(path) == 0o640


def test_every_table_and_file_of_votes(tmp_path: Path, umask: int) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(4)])
    folder = RunFolder(run)
    (run / "manifest.json").write_text("{}")
    store.write(folder.table(IMPORTED), VOTES)
    store.write(tmp_path / "votes.jsonl", VOTES)
    store.write_failures(tmp_path / "votes.jsonl", [Failure("import", "rosa's row", "no prompt", "")])
    folder.write_table("mixture", map(tables.preference_row, VOTES), private=True)
    agreement_of(str(run))
    for name in ("out.jsonl", "out.json", "out.parquet", "folder"):
        done = CliRunner().invoke(app, ["export", str(run), "--to", str(tmp_path / name), "--format", "trl"])
        assert done.exit_code == 0, done.output
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and b"rosa" in path.read_bytes()]
    names = {path.name for path in holding}
    assert {"votes.jsonl", "votes.rejected.jsonl", "metrics.json"} <= names
    private = {*holding, *(run / "data").glob("[hm]*.parquet"), *tmp_path.glob("out.*")}
    assert {mode(path) for path in private} == {0o660 & ~umask}
    assert mode(folder.table("comparisons")) == 0o666 & ~umask  # no votes in it: as the umask says


def test_what_was_closed_to_others_stays_closed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.touch(0o640)
    before = os.umask(0)
    try:
        atomic_write(path, lambda file: file.write_text("{}"))
        assert mode(path) & 0o007 == 0
        path.chmod(0o664)
        atomic_write(path, lambda file: file.write_text("{}"))
        assert mode(path) == 0o666
    finally:
        os.umask(before)
