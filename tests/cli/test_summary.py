"""What is said on the terminal at the end: of a run everything, of one stage its own figures alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.cli.summary import run_summary, step_summary
from cai.run.folder import RunFolder
from cai.values.types import Score

FIGURES = {
    "dpo/loss": Score(0.61, 0.58, 0.64, 3),
    "dpo/rows": Score(1340, 1340, 1340, 1340),
    "eval/pocket/harmful/policy": Score(0.25, 0.2, 0.3, 240),
    "mix/pocket/taken": Score(340, 340, 340, 340),
    "reward/accuracy": Score(0.45, 0.3, 0.62, 33),
    "reward/log_loss": Score(0.66, 0.6, 0.71, 33),
}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.record_metrics(FIGURES, drop="nothing/")
    return folder


def test_a_training_shows_no_older_answers_and_says_how_to_get_new_ones(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    step_summary.show(folder, ["dpo", "watch"])
    said = capsys.readouterr().out
    assert "0.61 [0.58, 0.64]  n=3" in said and "1,340" in said
    assert "harmful" not in said
    assert f"now: cai evaluate {folder.path}" in said


def test_a_mixture_is_shown_by_source_also_where_every_label_was_taken(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    step_summary.show(folder, ["mix"])
    said = capsys.readouterr().out
    assert "340 of 340 taken" in said and "harmful" not in said
    assert f"now: cai train dpo {folder.path}" in said
    run_summary.show(folder)
    assert "of 340 taken" not in capsys.readouterr().out  # nothing that a whole run would have to say


def test_the_grade_of_the_answers_is_the_table_before_and_after(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    step_summary.show(folder, ["answer-policy", "grade"])
    said = capsys.readouterr().out
    assert "0.250 [0.20, 0.30]" in said and "dpo" not in said


def test_every_monitor_is_shown_with_what_it_saw(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"stage": "policy", "limit": 0.1, "low": 0.0, "high": 1.0, "n": 80}
    folder.write_table(
        "monitors",
        [
            {"name": "refusal", "tripped": True, "value": 0.5, "text": "benign requests are refused", **row},
            {"name": "verbosity", "tripped": False, "value": None, "text": "not measured: 3 prompts", **row},
        ],
    )
    step_summary.show(folder, ["monitor"])
    said = capsys.readouterr().out
    assert "1 of 2 monitors tripped" in said
    assert "tripped  refusal (policy): benign requests are refused" in said
    assert "–        verbosity (policy): not measured: 3 prompts" in said


@pytest.mark.parametrize(("low", "doubted"), [(0.3, True), (0.5, True), (0.51, False)])
def test_a_reward_model_that_may_know_nothing_is_doubted(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], low: float, doubted: bool
) -> None:
    folder.record_metrics({"reward/accuracy": Score(0.6, low, 0.7, 33)}, drop="reward/accuracy")
    for show in (run_summary.show, lambda run: step_summary.show(run, ["reward"])):
        show(folder)
        said = capsys.readouterr().out
        assert f"reward model: right on 0.600 [{low:.2f}, 0.70] of held-out pairs, n=33" in said
        assert ("no better than a coin" in said) == doubted
