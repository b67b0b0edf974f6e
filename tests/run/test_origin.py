"""What is current and what is of an earlier run: by hand-worked chains of steps."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
import pytest

from cai.run.folder import RunFolder
from cai.run.origin import (
    FILE,
    Made,
    Origins,
    Outputs,
    has_checkpoint,
    has_table,
    read_origins,
    record_made,
    write_origins,
)

TABLE = Outputs(tables=("t",), metrics=("t/",))


def chain(**wanted: str) -> Origins:
    """first → second → third, each made from the setting x=1."""
    made = {
        "first": Made({"x": "1"}, {}, "a", TABLE),
        "second": Made({"x": "1"}, {"first": "a"}, "b", TABLE),
        "third": Made({"x": "1"}, {"second": "b"}, "c", TABLE),
    }
    return Origins({step: {"x": wanted.get(step, "1")} for step in made}, made)


def test_what_was_made_from_what_is_wanted_is_current() -> None:
    assert chain().stale == frozenset()


@pytest.mark.parametrize(
    ("changed", "stale"),
    [("first", {"first", "second", "third"}), ("second", {"second", "third"}), ("third", {"third"})],
)
def test_a_change_reaches_everything_behind_it_and_nothing_before(changed: str, stale: set[str]) -> None:
    origins = chain(**{changed: "2"})
    assert origins.stale == stale
    assert origins.reasons(sorted(stale)) == ["x 1→2"]


def test_another_outcome_of_what_was_read_is_a_change() -> None:
    origins = chain()
    again = {**origins.made, "first": Made({"x": "1"}, {}, "another", TABLE)}
    assert Origins(origins.wanted, again).stale == {"second", "third"}


def test_what_nobody_wants_any_more_is_stale() -> None:
    origins = chain()
    wanted = {step: own for step, own in origins.wanted.items() if step != "second"}
    assert Origins(wanted, origins.made).stale == {"second", "third"}
    assert Origins(wanted, origins.made).reasons(["second"]) == ["second is no step of this method"]


def test_a_circle_is_stale() -> None:
    made = {"a": Made({}, {"b": "2"}, "1", TABLE), "b": Made({}, {"a": "1"}, "2", TABLE)}
    assert Origins({"a": {}, "b": {}}, made).stale == {"a", "b"}


def test_hashes_are_told_as_changes_and_new_settings_as_unset() -> None:
    made = {"a": Made({"#model": "0123", "old": "1"}, {}, "1", TABLE)}
    reasons = Origins({"a": {"#model": "4567", "new": "2"}}, made).reasons(["a"])
    assert reasons == ["model changed", "new unset→2", "old 1→unset"]


def test_the_record_survives_writing_and_reading(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_origins(folder, chain(second="2"))
    found = read_origins(folder)
    assert (found.wanted, found.made) == (chain(second="2").wanted, chain().made)
    assert found.stale_tables() == {"t"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"made": [], "wanted": {}}', '{"made": {"a": 1}, "wanted": {}}']
)
def test_a_record_that_cannot_be_read_is_absent(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_origins(RunFolder(tmp_path)).made == {}


def test_whoever_makes_the_policy_makes_the_only_one(tmp_path: Path) -> None:
    folder, outputs = RunFolder(tmp_path), Outputs(checkpoint="policy", metrics=("x/",))
    policy = folder.checkpoint("policy")
    policy.mkdir(parents=True)
    (policy / "training.json").write_text(json.dumps({"key": "of dpo"}))
    record_made(folder, "dpo", {"beta": "1"}, [], outputs)
    record_made(folder, "answer", {}, ["dpo"], Outputs(tables=("eval",)))
    assert has_checkpoint(folder, "policy")
    (policy / "training.json").write_text(json.dumps({"key": "of ppo"}))
    record_made(folder, "ppo", {"beta": "1"}, [], outputs)
    found = read_origins(folder)
    assert set(found.made) == {"ppo", "answer"}
    assert found.stale == {"answer"}


def test_a_table_that_was_edited_is_told_by_what_it_holds(tmp_path: Path) -> None:
    folder, second = RunFolder(tmp_path), Outputs(tables=("u",))
    folder.write_table("t", [{"x": 1}])
    folder.write_table("u", [{"y": 1}])
    record_made(folder, "first", {"x": "1"}, [], TABLE)
    record_made(folder, "second", {}, ["first"], second)
    assert read_origins(folder).stale == frozenset()
    folder.write_table("t", [{"x": 2}])
    found = read_origins(folder)
    assert (found.stale, found.unmade) == ({"first", "second"}, {"second"})
    assert found.reasons(["first", "second"]) == ["data/t.parquet is not what first wrote"]
    assert not has_table(folder, "t")
    record_made(folder, "second", {}, ["first"], second)  # from the table as it is now
    assert read_origins(folder).stale == {"first"}
    folder.write_table("t", [{"x": 1}])
    assert read_origins(folder).stale == {"second"}
    folder.table("t").unlink()
    assert read_origins(folder).stale == {"first", "second"}


def test_grades_beside_the_answers_are_no_edit_of_them(tmp_path: Path) -> None:
    folder, outputs = RunFolder(tmp_path), Outputs(tables=("eval_base",))
    answers = [{"prompt_id": "p", "tags": ["x"], "index": 0, "response": "Yes."}]
    folder.write_table("eval_base", answers)
    record_made(folder, "answer-base", {}, [], outputs)
    folder.write_table("eval_base", [row | {"judge/harmful": True} for row in answers])
    assert read_origins(folder).stale == frozenset()
    folder.write_table("eval_base", [row | {"judge/harmful": True, "response": "No."} for row in answers])
    assert read_origins(folder).stale == {"answer-base"}


def test_another_version_s_bytes_are_no_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, outputs = RunFolder(tmp_path), Outputs(tables=("eval_base",))
    folder.write_table("eval_base", [{"prompt_id": "p"}])
    record_made(folder, "answer-base", {}, [], outputs)
    data = tmp_path / "data/eval_base.parquet"
    folder.write_table("eval_base", [{"prompt_id": "p", "judge/harmful": True}])
    version = pyarrow.__version__.encode()
    data.write_bytes(data.read_bytes().replace(b"version " + version, b"version " + b"0" * len(version)))
    assert pq.read_metadata(data).created_by.endswith("0" * len(version))
    assert read_origins(folder).stale == frozenset()


def test_a_table_of_an_earlier_run_counts_as_not_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_table("t", [{"x": 1}])
    assert has_table(folder, "t")  # of a folder without a record nothing is known
    write_origins(folder, chain(first="2"))
    assert not has_table(folder, "t")
    assert not has_table(folder, "another")


def test_a_checkpoint_that_is_gone_is_no_edit(tmp_path: Path) -> None:
    """Checkpoints are deleted to save space; what does not need them goes on."""
    folder = RunFolder(tmp_path)
    folder.write_table("labels", [{"p": 0.5}])
    training = folder.checkpoint("sft") / "training.json"
    training.parent.mkdir(parents=True)
    training.write_text('{"key": "k"}')
    record_made(folder, "sft", {}, (), Outputs(checkpoint="sft"))
    record_made(folder, "label", {}, ("sft",), Outputs(tables=("labels",)))
    training.write_text('{"key": "another"}')
    assert set(read_origins(folder).edited) == {"sft"}
    training.unlink()
    assert set(read_origins(folder).edited) == {"sft"}  # a checkpoint without its record is another's
    training.parent.rmdir()
    assert not read_origins(folder).edited
