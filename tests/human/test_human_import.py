"""Import as a whole: every row accounted for, detection, files and folders, column mapping, memory."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from feedback_rows import ARGILLA, ASK, BAD, GOOD, HH, LABEL_STUDIO, ROWS

from cai.data import tables
from cai.human.exchange.columns import parse_columns
from cai.human.exchange.formats import FORMATS, detect
from cai.human.exchange.import_report import Tally, describe
from cai.human.exchange.importing import import_votes, read_all, read_votes, stream
from cai.human.pairs import Options, pair_key
from cai.run.folder import RunFolder
from cai.values.errors import CaiError, FileError, UsageError

TABLE = {"prompt": ASK, "a": GOOD, "b": BAD, "preferred": "a"}


def jsonl(folder: Path, rows: Iterable[Any], name: str = "v.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# --- accounting --------------------------------------------------------------------------------


def test_every_row_is_taken_or_rejected_with_its_number(tmp_path: Path) -> None:
    spec = jsonl(
        tmp_path,
        [TABLE, TABLE | {"b": ""}, TABLE, TABLE | {"preferred": "z"}, TABLE | {"a": "x"}, {"prompt": ""}],
    )
    votes, report = read_all(spec)
    assert (len(votes), report.votes, report.taken, report.rows) == (2, 2, 2, 6)
    assert [(f.item, f.reason, f.detail) for f in report.rejected] == [
        ("row 2", "empty response", "one of the two has no text"),
        ("row 3", "duplicate", "repeats row 1"),
        ("row 4", "label out of range", "'preferred' is 'z'; it must be a, b, tie or both_bad"),
        ("row 6", "empty row", ""),
    ]  # fmt: skip
    assert report.by_reason == {"empty response": 1, "duplicate": 1, "label out of range": 1, "empty row": 1}
    told = "\n".join(describe(report, most=1))
    assert told.startswith("table: 2 of 6 rows taken, 2 votes (0 ties, 0 unscored, 0 repeated)")
    assert told.endswith("  row 2: empty response: one of the two has no text\n  … and 3 more")


def test_votes_that_disagree_are_all_kept(tmp_path: Path) -> None:
    rows = [TABLE, TABLE | {"preferred": "b"}, {"prompt": ASK, "a": BAD, "b": GOOD, "preferred": "a"}]
    votes, report = read_all(jsonl(tmp_path, rows))
    assert [v.p for v in votes] in ([1.0, 0.0], [0.0, 1.0])
    assert report.rejected[0].detail == "repeats row 2"  # the third says what the second says


def test_a_vote_with_an_id_of_its_own_may_repeat_another(tmp_path: Path) -> None:
    rows = [TABLE | {"id": "v1"}, TABLE | {"id": "v2"}, TABLE | {"id": "v1", "preferred": "b"}]
    votes, report = read_all(jsonl(tmp_path, rows))
    assert (len(votes), report.repeated) == (2, 1)
    assert [(f.reason, f.detail) for f in report.rejected] == [("id used twice", "'v1' is the id of row 1")]


def test_ids_do_not_depend_on_the_other_rows(tmp_path: Path) -> None:
    rows = [TABLE | {"a": f"answer {n}"} for n in range(5)]
    before = {v.comparison for v in read_all(jsonl(tmp_path, rows))[0]}
    after = {v.comparison for v in read_all(jsonl(tmp_path, [TABLE | {"a": "new"}, *rows[::-1]]))[0]}
    assert before < after
    assert read_all(jsonl(tmp_path, [TABLE]))[0][0].comparison.id == "h-6c4391b1258ec2d2"  # in all versions


def test_pair_key_joins_votes_with_labels_of_the_same_pair(tmp_path: Path) -> None:
    (vote,), _ = read_all(jsonl(tmp_path, [TABLE]))
    assert pair_key(vote.comparison) == pair_key(vote.comparison.swap())
    (other,), _ = read_all(jsonl(tmp_path, [TABLE | {"a": "x"}]))
    assert pair_key(vote.comparison) != pair_key(other.comparison)


# --- detection ---------------------------------------------------------------------------------


def test_every_row_fits_exactly_its_own_format() -> None:
    for name, row, _, _ in ROWS:
        assert [format.name for format in FORMATS.values() if format.fits(row)] == [name]


def test_nothing_fits_lists_what_was_seen_and_what_is_needed() -> None:
    with pytest.raises(FileError) as error:
        detect("x.csv", [{"query": "q", "label": 1}])
    message = str(error.value)
    assert message.startswith("x.csv: no known format: the columns are query, label")
    for name, format in FORMATS.items():
        assert f"{name} " in message
        assert format.needs in message


def test_two_formats_fit() -> None:
    row = TABLE | {"chosen": GOOD, "rejected": BAD}
    with pytest.raises(FileError, match="fit trl and table: name one with --format"):
        detect("x", [row])


def test_broken_rows_among_the_first_decide_nothing(tmp_path: Path) -> None:
    rows = [
        {"chosen": 1},
        HH,
        HH | {"rejected": "\n\nHuman: q\n\nAssistant: z"},
        {"x": 1},
        HH | {"chosen": None},
    ]
    _, report = read_all(jsonl(tmp_path, [*rows[1:3], rows[0], rows[3]]))
    assert (report.format, report.taken, report.rows) == ("hh-rlhf", 1, 4)
    with pytest.raises(FileError, match="no known format"):
        read_all(jsonl(tmp_path, [HH, *[{"x": 1}] * 3]))


def test_a_named_format_is_not_detected(tmp_path: Path) -> None:
    spec = jsonl(tmp_path, [TABLE])
    assert read_all(spec, Options(format="trl"))[1].by_reason == {"missing column": 1}
    with pytest.raises(UsageError, match="no format 'hh_rlhf'; did you mean 'hh-rlhf'"):
        read_all(spec, Options(format="hh_rlhf"))


def test_a_file_without_rows(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no row in it that can be read"):
        read_all(jsonl(tmp_path, []))
    with pytest.raises(FileError, match="no such file"):
        read_all(str(tmp_path / "missing.xlsx"))


# --- tables ------------------------------------------------------------------------------------


def test_columns_by_any_name(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["question", "answer1", "answer2", "label", "who", "n"])
        table.writerow([ASK, GOOD, BAD, "answer1", "ann", "1"])
        table.writerow([ASK, GOOD, BAD, "2", "bo", "2"])
        table.writerow([ASK, GOOD, BAD, "tie", "cy", "3"])
    columns = parse_columns("prompt=question, a=answer1, b=answer2, preferred=label, annotator=who, id=n")
    votes, report = read_all(str(path), Options(columns=columns))
    assert report.format == "table"
    assert [v.source.name for v in votes] == ["ann", "bo", "cy"]
    assert [v.p if v.comparison.a == GOOD else v.swap().p for v in votes] == [1.0, 0.0, 0.5]


def test_chosen_and_rejected_by_any_name(tmp_path: Path) -> None:
    spec = jsonl(tmp_path, [{"q": ASK, "win": GOOD, "lose": BAD}, {"q": ASK, "win": GOOD, "lost": BAD}])
    (vote,), report = read_all(spec, Options(columns=parse_columns("prompt=q,chosen=win,rejected=lose")))
    assert (vote.p == 1.0) == (vote.comparison.a == GOOD)
    assert report.rejected[0].detail == "no 'lose' (for rejected); did you mean 'lost'?"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("prompt", "'prompt' is not name=column"),
        ("promt=q,a=x,b=y,preferred=z", "unknown name 'promt'; did you mean 'prompt'"),
        ("prompt=q,prompt=r,a=x,b=y", "'prompt' is given twice"),
        ("prompt=q,a=x,preferred=z", "'a' needs 'b' beside it"),
        ("prompt=q,rejected=x", "'rejected' needs 'chosen' beside it"),
    ],
)
def test_column_mappings_that_cannot_be_used(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_columns(spec)


# --- files -------------------------------------------------------------------------------------


def test_every_kind_of_file_gives_the_same(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from openpyxl import Workbook

    rows = [TABLE, TABLE | {"a": 'a "quoted",\nline', "preferred": "tie"}]
    expected = read_all(jsonl(tmp_path, rows))
    (tmp_path / "v.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "v.jsonl.gz", "wt") as packed:
        packed.writelines(json.dumps(row) + "\n" for row in rows)
    with (tmp_path / "v.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(TABLE))
        table.writeheader()
        table.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "v.parquet")
    book = Workbook()
    for line in [list(TABLE), *(list(row.values()) for row in rows)]:
        book.active.append(line)
    book.save(tmp_path / "v.xlsx")
    for name in ("v.json", "v.jsonl.gz", "v.csv", "v.parquet", "v.xlsx"):
        assert read_all(str(tmp_path / name)) == expected, name


def test_spreadsheet_rows_under_their_header(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    lines: list[list[Any]] = [[*TABLE, None], [*TABLE.values()], [], [ASK, GOOD, BAD, "b", "?"], [ASK, GOOD]]
    for line in lines:
        book.active.append(line)
    book.save(tmp_path / "v.xlsx")
    _, report = read_all(str(tmp_path / "v.xlsx"))
    assert report.taken == 1
    assert [(f.item, f.reason) for f in report.rejected] == [
        ("row 2", "empty row"),
        ("row 3", "unreadable row"),
        ("row 4", "empty cell"),
    ]
    (tmp_path / "bad.xlsx").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FileError, match="cannot be read as a spreadsheet"):
        read_all(str(tmp_path / "bad.xlsx"))


def test_spreadsheet_texts_that_look_like_formulas_stay_text(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.active.append([None, *TABLE])
    book.active.append([0, ASK, '=IF(C7="x", 1, 2)', '=IF(C7="y", 1, 2)', "a"])  # 0: a nameless index column
    book.save(tmp_path / "v.xlsx")
    (vote,), _ = read_all(str(tmp_path / "v.xlsx"))
    assert {vote.comparison.a, vote.comparison.b} == {'=IF(C7="x", 1, 2)', '=IF(C7="y", 1, 2)'}


def test_a_folder_of_a_dataset(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    expected = [vote.comparison.id for vote in read_all(jsonl(tmp_path, [HH]))[0]]
    (tmp_path / "set" / "data").mkdir(parents=True)
    jsonl(tmp_path / "set" / "data", [HH], "train.jsonl")
    jsonl(tmp_path / "set" / "data", [HH | {"rejected": HH["rejected"] + "!"}], "test.jsonl")
    assert [vote.comparison.id for vote in read_all(str(tmp_path / "set"))[0]] == expected
    (other,), _ = read_all(f"{tmp_path / 'set'}:test")
    assert other.comparison.id not in expected
    DatasetDict({"train": Dataset.from_list([HH])}).save_to_disk(str(tmp_path / "saved"))
    assert [vote.comparison.id for vote in read_all(str(tmp_path / "saved"))[0]] == expected
    with pytest.raises(UsageError, match="not a dataset folder with a split 'dev'"):
        read_all(f"{tmp_path / 'set'}:dev")


# --- where votes go ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out/votes.jsonl", "out/votes.parquet"])
def test_a_file_of_votes_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    spec = jsonl(tmp_path, [LABEL_STUDIO, LABEL_STUDIO | {"annotations": []}])
    report = import_votes(spec, tmp_path / name, Options(question="harmless"))
    assert (report.taken, report.rows) == (1, 2)
    expected, _ = read_all(spec, Options(question="harmless"))
    assert list(read_votes(tmp_path / name)) == expected
    (failure,) = (tmp_path / "out" / "votes.rejected.jsonl").read_text().splitlines()
    assert json.loads(failure)["item"] == f"{spec}, row 2"
    import_votes(jsonl(tmp_path, [ARGILLA]), tmp_path / name, Options(), anew=True)
    assert not (tmp_path / "out" / "votes.rejected.jsonl").exists()


def test_into_a_run_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_text("config.yaml", "")
    spec = jsonl(tmp_path, [TABLE, TABLE | {"preferred": "b", "annotator": "x"}, TABLE | {"a": BAD}])
    import_votes(spec, run.path, Options())
    votes = run.read_table("human", tables.preference_from)
    assert votes == read_all(spec)[0] == list(read_votes(run.path))
    assert [(f.stage, f.reason) for f in run.read_failures()] == [("import", "identical responses")]
    first = run.table("human").read_bytes()
    import_votes(spec, run.path, Options())
    assert run.table("human").read_bytes() == first
    assert len(run.read_failures()) == 1


def test_a_file_without_votes_replaces_nothing(tmp_path: Path) -> None:
    target = tmp_path / "votes.jsonl"
    import_votes(jsonl(tmp_path, [TABLE]), target, Options())
    before = target.read_bytes()
    with pytest.raises(FileError, match="no usable vote in 2 rows of table; row 1: label out of range"):
        import_votes(jsonl(tmp_path, [TABLE | {"preferred": "?"}] * 2), target, Options())
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.jsonl", "votes.jsonl"]


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a run folder nor a file"):
        import_votes(jsonl(tmp_path, [TABLE]), tmp_path / "votes.txt", Options())
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"id": "x"}\n')
    with pytest.raises(CaiError, match="row 1: missing column"):
        list(read_votes(broken))


def test_a_long_file_is_never_in_memory_at_once(tmp_path: Path) -> None:
    count, filler = 10_000, "x" * 1_000
    path = tmp_path / "long.jsonl"
    with path.open("w") as file:
        for n in range(count):
            file.write(json.dumps(TABLE | {"a": f"{n} {filler}"}) + "\n")
    tally = Tally()
    tracemalloc.start()
    taken = sum(1 for _ in stream(str(path), Options(), tally))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken == tally.report().taken == count
    # What stays is a digest a vote. The texts alone are 10 MB.
    assert peak < 4e6
