"""Real files, every row accounted for, against counts made here without the importer."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cai.human.exchange.exporting import export_votes
from cai.human.exchange.importing import import_votes, read_all, read_votes
from cai.human.pairs import Options
from cai.values.types import Preference

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in ../shared/data on this machine")
    return path


def test_hh_rlhf_harmless(tmp_path: Path) -> None:
    path = shared("hh-rlhf-harmless-base-test.jsonl.gz")
    report = import_votes(str(path), tmp_path / "votes.jsonl", Options(question="harmless"))
    assert (report.format, report.rows) == ("hh-rlhf", 2_312)
    assert report.by_reason == {"prefixes differ": 5, "empty response": 4, "turns do not alternate": 4}

    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    last = "\n\nAssistant:"
    parted = [
        n
        for n, row in enumerate(rows, 1)
        if row["chosen"].rsplit(last, 1)[0] != row["rejected"].rsplit(last, 1)[0]
    ]
    assert [f.item for f in report.rejected if f.reason == "prefixes differ"] == [f"row {n}" for n in parted]
    empty = [n for n, row in enumerate(rows, 1) if row["chosen"].endswith(last + " ")]
    assert [f.item for f in report.rejected if f.reason == "empty response"] == [f"row {n}" for n in empty]

    rejected = {int(f.item.removeprefix("row ")) for f in report.rejected}
    kept = [row for n, row in enumerate(rows, 1) if n not in rejected]
    votes = list(read_votes(tmp_path / "votes.jsonl"))
    assert len(votes) == len(kept) == report.taken == 2_299
    for vote, row in zip(votes, kept, strict=True):
        chosen = vote if vote.p == 1.0 else vote.swap()
        assert row["chosen"].rsplit(last, 1)[1].strip() == chosen.comparison.a
        assert row["rejected"].rsplit(last, 1)[1].strip() == chosen.comparison.b
    assert len({vote.comparison.id for vote in votes}) == 2_299


def test_open_instruct_human_evaluation(tmp_path: Path) -> None:
    from openpyxl import load_workbook

    path = shared("open-instruct-human-eval.xlsx")
    votes, report = read_all(str(path))
    assert (report.format, report.rows) == ("open-instruct", 1_302)
    assert report.by_reason == {"empty row": 152, "identical responses": 39}

    header, *lines = load_workbook(path).active.iter_rows(values_only=True)
    rows: list[dict[str, Any]] = [dict(zip(header, line, strict=True)) for line in lines]
    filled = [row for row in rows if row["prompt"] is not None]
    assert (len(rows), len(filled)) == (1_302, 1_150)
    kept = [row for row in filled if row["completion_a"] != row["completion_b"]]
    assert len(kept) == len(votes) == report.taken == 1_111
    assert Counter(vote.source.name for vote in votes) == Counter(row["evaluator"] for row in kept)
    assert report.ties == sum(row["preference"] == "tie" for row in kept)

    wanted = {"a-is-better": 1.0, "a-is-slightly-better": 0.75, "tie": 0.5, "b-is-slightly-better": 0.25}
    for vote, row in zip(votes, kept, strict=True):
        as_shown = vote if vote.comparison.a == row["completion_a"] else vote.swap()
        assert as_shown.p == wanted.get(row["preference"], 0.0)
        assert as_shown.comparison.b == row["completion_b"]
        assert as_shown.judgements[0].p_a_first == as_shown.p
    assert pairs_by_annotators(votes) == pairs_by_rows(kept)


@pytest.mark.parametrize(
    ("name", "suffix"), [("label-studio", ".json"), ("table", ".csv"), ("trl", ".jsonl")]
)
def test_real_votes_go_out_and_come_back(tmp_path: Path, name: str, suffix: str) -> None:
    """Among them are votes that an annotator gave twice, also with the pair in the other order."""
    votes, _ = read_all(str(shared("open-instruct-human-eval.xlsx")))
    report = export_votes(votes, tmp_path / f"out{suffix}", name)
    assert (report.votes, report.left_out) == (1_111, ())
    back, taken = read_all(str(tmp_path / f"out{suffix}"))
    assert (taken.failures, taken.votes) == ((), 1_111)
    assert taken.repeated >= 5  # more where the strengths, which told two votes apart, are lost
    assert Counter(map(choice, back)) == Counter(map(choice, votes))


def choice(vote: Preference) -> tuple[Any, ...]:
    assert vote.p is not None
    return vote.comparison, vote.source, vote.raw, (vote.p > 0.5) - (vote.p < 0.5)


def pairs_by_annotators(votes: list[Preference]) -> Counter[int]:
    """How many pairs were judged by how many different people."""
    people: dict[str, set[str]] = {}
    for vote in votes:
        people.setdefault(vote.comparison.id, set()).add(vote.source.name)
    return Counter(len(names) for names in people.values())


def pairs_by_rows(rows: list[dict[str, Any]]) -> Counter[int]:
    people: dict[Any, set[str]] = {}
    for row in rows:
        key = row["prompt"], frozenset((row["completion_a"], row["completion_b"]))
        people.setdefault(key, set()).add(row["evaluator"])
    return Counter(len(names) for names in people.values())
