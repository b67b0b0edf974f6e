"""Tables come back as the values they were, writes are all or nothing, metrics and failures merge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cai.data import tables
from cai.run.folder import RunFolder, point_latest
from cai.values.errors import CaiError, UsageError
from cai.values.types import (
    Comparison,
    Demonstration,
    Failure,
    Judgement,
    Message,
    Outcome,
    Preference,
    Prompt,
    Reading,
    Response,
    Round,
    Score,
    Source,
    Transcript,
    Votes,
)

PROMPT = Prompt("p/1", (Message("system", "s"), Message("user", "😀 مرحبا\n{{x}}")), ("theme:a", "b"))
BARE = Prompt("p/2", (Message("user", "hi"),))
PAIR = Comparison("p/1/0-1", PROMPT, "a", "b")

TRANSCRIPTS = [
    Transcript(
        PROMPT,
        "first",
        (
            Round(0, "kind", "too rude", Outcome.REVISED, "second", "second"),
            Round(1, "calm", None, Outcome.CUT_OFF, "second", "sec"),
            Round(2, "calm", "fine", Outcome.NO_PROBLEM, "second"),
        ),
    ),
    Transcript(BARE, "only"),
]
PREFERENCES = [
    Preference(PAIR, 0.3, Source("ai", "m"), (Judgement("kind", 0.2, 0.4), Judgement("calm", 0.3, None))),
    Preference(PAIR, None, Source("human", "ann"), (), "unreadable", "raw reply"),
    Preference(PAIR, 0.5, Source("ai", "m"), weight=0.25),
    Preference(
        PAIR,
        0.7,
        Source("ai", "m"),
        (
            Judgement(
                "kind", 0.6, 0.8, None, True, (Reading(0.6, 0.9, True), Reading(None, 0.1, unscored="?"))
            ),
            Judgement("calm", None, None, 0.7, readings=(Reading(0.6, 1.0, votes=Votes(3, 1, 2, 0)), None)),
        ),
        interval=(0.4, 0.9),
    ),
]


@pytest.mark.parametrize(
    ("values", "row", "back"),
    [
        (
            [Response(PROMPT, "x", "length", 3), Response(BARE, "y")],
            tables.response_row,
            tables.response_from,
        ),
        (TRANSCRIPTS, tables.transcript_row, tables.transcript_from),
        ([PAIR, PAIR.swap()], tables.comparison_row, tables.comparison_from),
        (PREFERENCES, tables.preference_row, tables.preference_from),
        (
            [Demonstration(PROMPT, "r", "revision", "kind", 1), Demonstration(BARE, "k", "kept")],
            tables.demonstration_row,
            tables.demonstration_from,
        ),
    ],
)
def test_tables_give_back_the_values(values, row, back, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = RunFolder(tmp_path)
    folder.write_table("t", map(row, values))
    assert folder.read_table("t", back) == values
    first = folder.table("t").read_bytes()
    folder.write_table("t", map(row, values))
    assert folder.table("t").read_bytes() == first


def test_chosen_is_the_preferred_one_and_an_unscored_pair_has_none() -> None:
    against, unscored, tie = map(tables.preference_row, PREFERENCES[:3])
    assert against["chosen"][0]["content"] == "b"
    assert against["p_chosen"] == 0.7
    assert unscored["chosen"] is unscored["rejected"] is unscored["p_chosen"] is None
    assert tie["chosen"][0]["content"] == "a"
    assert tie["p_chosen"] == 0.5


def test_an_empty_table_reads_back_empty(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_table("none", [])
    assert folder.read_table("none", tables.response_from) == []


def test_a_missing_or_damaged_table_says_what_to_do(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(UsageError, match="run the step"):
        folder.read_table("responses", tables.response_from)
    folder.table("responses").parent.mkdir()
    folder.table("responses").write_bytes(b"PAR1 but not really")
    with pytest.raises(CaiError, match="delete it and run again"):
        folder.read_table("responses", tables.response_from)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_text("a.txt", "old")

    with pytest.raises(UnicodeEncodeError):
        folder.write_text("a.txt", "\ud800")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_failures_of_a_stage_replace_its_own_lines_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record_failures({"label"}, [Failure("label", "1", "odd", "line\nbreak \ud800")])
    folder.record_failures({"revise"}, [Failure("revise", "2", "long")])
    folder.record_failures({"label"}, [])
    assert folder.read_failures() == [Failure("revise", "2", "long")]


def test_metrics_merge_by_prefix_and_stay_sorted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record_metrics({"b/x": Score(1, 1, 1, 1), "b/y": Score(2, 2, 2, 2)}, drop="b/")
    folder.record_metrics({"a/x": Score(0.5, 0.4, 0.6, 10)}, drop="a/")
    folder.record_metrics({"b/x": Score(3, 3, 3, 3)}, drop="b/")
    assert list(json.loads(folder.metrics.read_text())) == ["a/x", "b/x"]
    assert folder.read_metrics()["a/x"] == Score(0.5, 0.4, 0.6, 10)


def test_latest_points_at_the_newest_and_spares_a_real_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        point_latest(tmp_path / name)
        assert (tmp_path / "latest").resolve().name == name
    point_latest(tmp_path / "latest")  # a run that was named by the link itself
    assert (tmp_path / "latest").resolve().name == "two"
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").mkdir()
    point_latest(tmp_path / "one")
    assert (tmp_path / "latest").is_dir()
    assert not (tmp_path / "latest").is_symlink()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"a/x": [1, 2]}')
    folder.failures.write_text('{"stage": "label", "it')
    with pytest.raises(CaiError, match=r"metrics\.json: cannot be read .*delete it and run again"):
        folder.read_metrics()
    with pytest.raises(CaiError, match=r"failures\.jsonl: cannot be read"):
        folder.record_failures({"label"}, [])


def test_a_folder_with_files_of_its_own_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with RunFolder(tmp_path).locked():  # nothing that a run would overwrite
        pass
    (tmp_path / ".lock").unlink()
    (tmp_path / "config.yaml").write_text("mine")
    with (
        pytest.raises(UsageError, match=r"would overwrite what is in it \(config\.yaml\)"),
        RunFolder(tmp_path).locked(),
    ):
        pass
    assert not (tmp_path / ".lock").exists()
    (tmp_path / "journal.sqlite").touch()  # a run folder that was copied without its hidden files
    with RunFolder(tmp_path).locked():
        pass


def test_there_is_no_latest_among_the_rounds_of_a_run(tmp_path: Path) -> None:
    later = tmp_path / "run" / "rounds" / "2"
    later.mkdir(parents=True)
    (tmp_path / "run" / "journal.sqlite").touch()
    (later.parent / "latest").symlink_to("2")  # of an earlier cai
    point_latest(later)
    assert [path.name for path in later.parent.iterdir()] == ["2"]
    point_latest(tmp_path / "run")
    assert (tmp_path / "latest").resolve() == tmp_path / "run"
