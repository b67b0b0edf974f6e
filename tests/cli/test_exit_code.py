"""Exit 3 is about the items of the steps that a command walked, in the folders in which it walked them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import typer

from cai.cli.walk import finish
from cai.pipeline.lineage import LINEAGE, own_failures
from cai.run.folder import RunFolder
from cai.values.types import Failure

STEP_FILES = (Path(__file__).parents[2] / "cai" / "pipeline" / "steps").glob("*.py")


def folder_with(path: Path, *stages: str) -> RunFolder:
    folder = RunFolder(path)
    path.mkdir()
    folder.record_failures(set(stages), [Failure(stage, "i", "why") for stage in stages])
    return folder


def code(steps: list[str], *walked: RunFolder) -> int:
    try:
        finish(lambda progress: walked, walked[0].path, steps, False, True, lambda folder: None)
    except typer.Exit as done:
        return int(done.exit_code)
    return 0


def test_what_another_step_quarantined_is_no_outcome_of_this_command(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "run", "mix", "import", "grade-base", "suite hhh")
    assert code(["mix"], folder) == 3
    assert code(["monitor"], folder) == 0
    assert code(["dpo", "watch"], folder) == 0
    assert code(["answer-base", "grade"], folder) == 3
    assert code(["suites"], folder) == 3


def test_every_round_that_was_walked_counts_and_no_other(tmp_path: Path) -> None:
    first, second = folder_with(tmp_path / "1"), folder_with(tmp_path / "2", "label")
    assert code(["label"], first, second) == 3
    assert code(["label"], first) == 0


@pytest.mark.parametrize(
    ("step", "stages"),
    [("generate", {"prompts", "generate", "helpful"}), ("grade", {"grade-sft", "grade-revision-0"})],
)
def test_names_in_quarantine_belong_to_their_step(step: str, stages: set[str]) -> None:
    failures = [Failure(stage, "i", "why") for stage in (*stages, "graded", "answer-sft")]
    assert {failure.stage for failure in own_failures(failures, [step])} == stages


def test_every_name_that_a_step_writes_is_claimed() -> None:
    """Of those that stand in the steps' sources as they are; the others are the step's own name."""
    written = set()
    for path in STEP_FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "record_failures":
                written |= {leaf.value for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant)}
    assert {"prompts", "mix", "label"} <= written
    names = {name for lineage in LINEAGE.values() for name in lineage.outputs.failures} | {"suite "}
    assert {w for w in written if not (w in names or w.startswith(tuple(names)) or w == "answer-")} == set()
