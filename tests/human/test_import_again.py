"""Votes that come file by file: an import adds to what is there, says so, and never doubles a vote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cai.data import tables
from cai.human.exchange.exporting import export_votes
from cai.human.exchange.import_report import describe
from cai.human.exchange.importing import import_votes, read_all, read_votes
from cai.human.pairs import Options
from cai.run.folder import RunFolder
from cai.values.errors import CaiError
from cai.values.types import Comparison, Message, Preference, Prompt, Source


def votes_of(folder: Path, who: str, said: str, count: int = 3) -> str:
    rows = [
        {"prompt": f"q{n}", "a": f"x{n}", "b": f"y{n}", "preferred": said, "annotator": who}
        for n in range(count)
    ]
    path = folder / f"{who}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run_folder(folder: Path) -> RunFolder:
    run = RunFolder(folder / "run")
    run.path.mkdir()
    run.write_text("config.yaml", "")
    return run


@pytest.mark.parametrize("kind", ["run", "votes.jsonl", "votes.parquet"])
def test_one_file_per_annotator(tmp_path: Path, kind: str) -> None:
    target = run_folder(tmp_path).path if kind == "run" else tmp_path / kind
    first = import_votes(votes_of(tmp_path, "ann", "a"), target, Options())
    second = import_votes(votes_of(tmp_path, "bo", "b"), target, Options())
    assert not [line for line in describe(first) if "added" in line]
    assert "  3 added to the 3 votes that were there (--replace replaces them)" in describe(second)
    votes = list(read_votes(target))
    assert [vote.source.name for vote in votes] == ["ann"] * 3 + ["bo"] * 3
    assert len({vote.comparison.id for vote in votes}) == 3


def test_the_same_file_twice_does_not_double(tmp_path: Path) -> None:
    target = tmp_path / "votes.jsonl"
    spec = votes_of(tmp_path, "ann", "a")
    import_votes(spec, target, Options())
    before = target.read_bytes()
    again = import_votes(spec, target, Options())
    assert target.read_bytes() == before
    assert "  0 added to the 3 votes that were there, 3 were there already" in "\n".join(describe(again))
    itself = import_votes(str(target), target, Options())
    assert (itself.known, target.read_bytes()) == (3, before)


def test_a_vote_that_was_given_twice_stays_twice(tmp_path: Path) -> None:
    row = {"prompt": "q", "a": "x", "b": "y", "preferred": "a", "annotator": "ann"}
    path = tmp_path / "v.jsonl"
    path.write_text("".join(json.dumps(row | {"id": key}) + "\n" for key in ("v1", "v2")))
    for _ in range(2):
        import_votes(str(path), tmp_path / "votes.jsonl", Options())
        assert len(list(read_votes(tmp_path / "votes.jsonl"))) == 2


def test_votes_are_replaced_on_request_alone(tmp_path: Path) -> None:
    target = tmp_path / "votes.jsonl"
    import_votes(votes_of(tmp_path, "ann", "a"), target, Options())
    report = import_votes(votes_of(tmp_path, "bo", "b"), target, Options(), anew=True)
    assert "  in the place of what was there" in describe(report)
    assert {vote.source.name for vote in read_votes(target)} == {"bo"}


def test_failures_are_kept_by_file(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    for who in ("ann", "bo", "ann"):
        spec = votes_of(tmp_path, who, "a")
        with Path(spec).open("a") as file:
            file.write('{"prompt": "q", "a": "x", "b": "x", "preferred": "a"}\n')
        import_votes(spec, run.path, Options())
    assert [(f.item, f.reason) for f in run.read_failures()] == [
        (f"{tmp_path / name}, row 4", "identical responses") for name in ("bo.jsonl", "ann.jsonl")
    ]
    assert len(run.read_table("human", tables.preference_from)) == 6


def test_what_is_there_and_no_votes_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "mine.jsonl"
    target.write_text('{"note": "keep me"}\n')
    with pytest.raises(CaiError, match=r"row 1: missing column.*or say --replace to write over it"):
        import_votes(votes_of(tmp_path, "ann", "a"), target, Options())
    assert target.read_text() == '{"note": "keep me"}\n'
    import_votes(votes_of(tmp_path, "ann", "a"), target, Options(), anew=True)
    assert len(list(read_votes(target))) == 3


# --- cells of a csv -----------------------------------------------------------------------------


FORMULAS = ["=1+1", "@SUM(A1)", "+1", "-x", "\tx", "\rx", "'=1", "''=1", "'", "'plain", "a=b", "=", "''"]


def test_no_cell_of_a_csv_is_a_formula_and_all_come_back(tmp_path: Path) -> None:
    asked = Prompt("=id", (Message("user", "=prompt"),), ("-tag",))
    votes = [
        Preference(Comparison(f"c{n}", asked, text, "other"), 1.0, Source("human", "@ann"), raw="+1")
        for n, text in enumerate(FORMULAS)
    ]
    for suffix in (".csv", ".jsonl", ".parquet"):
        export_votes(votes, tmp_path / f"v{suffix}", "table")
        back, report = read_all(str(tmp_path / f"v{suffix}"))
        assert (back, report.rejected) == (votes, ())
    import csv

    with (tmp_path / "v.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]


def test_formulas_in_a_file_of_somebody_else_are_text(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text('prompt,a,b,preferred\n"Q","=1+1","\'@SUM(A1)",a\n')
    (vote,), _ = read_all(str(path))
    assert {vote.comparison.a, vote.comparison.b} == {"=1+1", "'@SUM(A1)"}


@pytest.mark.parametrize("spell", [json.dumps, str])
def test_a_chat_dataset_as_csv(tmp_path: Path, spell: Any) -> None:
    """What ``to_csv`` makes of lists of turns."""
    import csv

    ask, yes, no = (
        {"role": role, "content": text}
        for role, text in (
            ("user", 'What\'s "new"?'),
            ("assistant", "Not, much."),
            ("assistant", "Go\naway."),
        )
    )
    forms = {
        "whole.csv": {"chosen": [ask, yes], "rejected": [ask, no]},
        "split.csv": {"prompt": [ask], "chosen": [yes], "rejected": [no]},
        "sides.csv": {"prompt": [ask], "a": [yes], "b": [no], "preferred": "a"},
    }
    found = []
    for name, row in forms.items():
        with (tmp_path / name).open("w", newline="") as file:
            table = csv.DictWriter(file, list(row))
            table.writeheader()
            table.writerow({key: cell if isinstance(cell, str) else spell(cell) for key, cell in row.items()})
        (vote,), _ = read_all(str(tmp_path / name))
        found.append((vote.comparison, vote.p))
    assert len(set(found)) == 1
    assert found[0][0].prompt.messages == (Message("user", 'What\'s "new"?'),)
    assert {found[0][0].a, found[0][0].b} == {"Not, much.", "Go\naway."}


def test_trl_rows_of_cai_through_pandas_and_csv(tmp_path: Path) -> None:
    import pandas

    pair = Comparison("c1", Prompt("p1", (Message("user", "it's"),), ("t",)), "x", 'y "z"')
    vote = Preference(pair, 0.7, Source("human", "ann"))
    export_votes([vote], tmp_path / "v.jsonl", "trl")
    row = json.loads((tmp_path / "v.jsonl").read_text())
    pandas.DataFrame([row]).to_csv(tmp_path / "v.csv", index=False)
    (back,), report = read_all(str(tmp_path / "v.csv"))
    assert (back, report.format) == (vote, "trl")


def test_excel_files_of_votes(tmp_path: Path) -> None:
    """Semicolons, code page 1252, capital letters, decimal commas."""
    path = tmp_path / "v.csv"
    path.write_bytes("Prompt;A;B;P;Annotator\r\nGröße?;Müller;Köln;0,7;Zoë\r\n".encode("cp1252"))
    (vote,), report = read_all(str(path))
    assert (vote.p if vote.comparison.a == "Müller" else vote.swap().p) == pytest.approx(0.7)
    assert vote.source.name == "Zoë"
    assert describe(report)[1:3] == [
        "  not UTF-8: read as cp1252",
        "  the columns are divided by semicolon",
    ]
