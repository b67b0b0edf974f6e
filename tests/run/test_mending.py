"""Records of a run folder that cannot be read are set aside, and what can be read of them stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cai.run.folder import RunFolder
from cai.run.mending import mend

SCORE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
FAILURE = {"stage": "label", "item": "1", "reason": "unreadable", "detail": "x"}
SOUND = {
    "metrics.json": json.dumps({"a/b": SCORE}),
    "failures.jsonl": json.dumps(FAILURE) + "\n",
    "manifest.json": json.dumps({"seconds": {"sft": 1.0}, "models": {}, "seed": 0}),
    "rounds.json": json.dumps({"rounds": [".", "rounds/2"], "stopped": None}),
    "suites.json": json.dumps({"winrate": {"models": {"policy": "0"}}}),
    "origins.json": json.dumps({"wanted": {}, "made": {}}),
}
DAMAGED = [
    *((name, text[: len(text) // 2]) for name, text in SOUND.items()),
    *((name, "") for name in SOUND if name != "failures.jsonl"),
    *((name, "[]") for name in SOUND),
    *((name, "null") for name in SOUND),
    *((name, "\0\0\0\0") for name in SOUND),
    ("manifest.json", '{"seconds": []}'),
    ("manifest.json", '{"models": 3}'),
    ("rounds.json", '{"rounds": []}'),
    ("suites.json", '{"winrate": 1}'),
    ("metrics.json", '{"a/b": {"value": 1}}'),
    ("origins.json", '{"made": {"sft": {}}, "wanted": {}}'),
]


def test_sound_records_stay_as_they_are(tmp_path: Path) -> None:
    for name, text in SOUND.items():
        (tmp_path / name).write_text(text)
    assert mend(RunFolder(tmp_path)) == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == SOUND


@pytest.mark.parametrize(("name", "text"), DAMAGED)
def test_a_damaged_record_is_set_aside_and_told_once(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    folder = RunFolder(tmp_path)
    notes = mend(folder)
    assert len(notes) == 1
    assert name in notes[0]
    assert (tmp_path / f"{name}.damaged").read_text() == text
    assert mend(folder) == []
    assert folder.read_metrics() == {}
    assert folder.read_failures() == []
    assert folder.rounds() == (folder,)


def test_figures_that_are_numbers_are_kept(tmp_path: Path) -> None:
    bad = {"nan": SCORE | {"low": float("nan")}, "text": "0.5", "short": {"value": 1}}
    (tmp_path / "metrics.json").write_text(json.dumps({"good": SCORE, **bad}))
    assert len(mend(RunFolder(tmp_path))) == 1
    assert list(RunFolder(tmp_path).read_metrics()) == ["good"]


def test_failures_that_can_be_read_are_kept(tmp_path: Path) -> None:
    line = json.dumps(FAILURE)
    (tmp_path / "failures.jsonl").write_text(f'{line}\n{{"stage": 1}}\n{line}\n{line[:20]}')
    mend(RunFolder(tmp_path))
    assert [failure.reason for failure in RunFolder(tmp_path).read_failures()] == ["unreadable"] * 2
