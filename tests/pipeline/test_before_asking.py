"""What can be known to be wrong, or of no effect, is said before anything is asked, by the dry run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cai.cli.summary.plan_summary import show_plan
from cai.config.run_config import RunConfig
from cai.config.settings import resolve
from cai.data.promptsets import inert
from cai.pipeline import launch
from cai.pipeline.order import steps_of
from cai.run.progress import Silent
from cai.values.errors import CaiError

GOOD = [{"prompt": "How do I pick a lock?"}, {"prompt": "What is tea?"}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files: dict[str, list[Any]] = {"good.jsonl": GOOD, "bad.jsonl": [{"x": 1}], "empty.jsonl": []}
    for name, rows in files.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "no_model").mkdir()
    (tmp_path / "f.py").write_text("def score(prompt, response):\n    return 1.0\n")
    return tmp_path


FAULTS: list[tuple[str, str]] = [
    ("prompts=nofile.jsonl", "nofile.jsonl: no such file"),
    ("prompts=bad.jsonl", "bad.jsonl: no usable prompt"),
    ("prompts=empty.jsonl", "empty.jsonl"),
    ("prompts=pocket:trian", "pocket:trian"),
    ("evaluate.prompts=nofile.jsonl", "nofile.jsonl: no such file"),
    ("evaluate.prompts=bad.jsonl", "bad.jsonl: no usable prompt"),
    ("sft.helpful_prompts=nofile.jsonl", "nofile.jsonl: no such file"),
    ("human.votes=nofile.jsonl", "nofile.jsonl: no such file"),
    ("evaluate.suites=[winrate=nofile.jsonl]", "nofile.jsonl"),
    ("evaluate.suites=[winrat]", "winrat"),
    ("evaluate={suites: [winrate], toxicity_classifier: ./no_model}", "no_model is not a model"),
    ("evaluate={suites: [winrate], models: {other: ./nofolder}}", "nofolder"),
    ("templates=nofolder", "nofolder"),
    ("constitution=nofile.yaml", "nofile.yaml"),
    ("critic.name=./nofolder", "nofolder"),
    ("critic.name=./no_model", "no_model is not a model"),
    ("labeler=./nofolder", "nofolder"),
    ("critic.thinking=true", "thinking: true cannot be kept: its chat template has no switch"),
    ("model.thinking=512", "thinking: 512 cannot be kept: thought is never learned"),
    ("model.extra_body={top_k: 3}", "'extra_body' is for a model on a server"),
    ("critic={name: pocket, batch: true}", "'batch' is for a model on a server"),
    ("evaluate.judge=./nofolder", "nofolder"),
    ("reward=[{source: nofile.py:score}]", "nofile.py"),
    ("reward=[{source: f.py:other}]", "other"),
    ("reward=[{source: ./no_model}]", "no_model"),
    ("reward=[{source: ./nofolder}]", "nofolder"),
    ("gold={source: nofile.py:score}", "nofile.py"),
]


def config(*sets: str) -> RunConfig:
    return resolve(None, ["method=ppo", "limit=2", *sets], {}, {})


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_a_missing_file_is_named_before_anything_is_asked(folder: Path, fault: str, words: str) -> None:
    class Untouched:
        async def __call__(self, run: Any) -> None:
            raise AssertionError("a step began")

    wrong = config(fault)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "STEPS", dict.fromkeys(steps_of(wrong), Untouched()))
        with pytest.raises(CaiError) as caught:
            launch.execute(wrong, folder / "run", steps_of(wrong), Silent())
    assert words in str(caught.value)
    assert not (folder / "run" / "journal.sqlite").exists()
    with pytest.raises(CaiError) as dry:
        show_plan(wrong, folder / "run")
    assert words in str(dry.value)


def test_what_is_there_passes(folder: Path) -> None:
    launch.check(config("reward=[{source: f.py:score}, {source: judge}]", "gold={source: f.py:score}"))
    launch.check(
        config("prompts=good.jsonl", "evaluate.prompts=good.jsonl", "sft.helpful_prompts=good.jsonl")
    )
    launch.check(config("sft.helpful_prompts=nofile.jsonl", "sft.helpful_share=0"))  # not read, and said


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["sft.helpful_prompts=null"], "sft.helpful_share: 0.3 has no effect without sft.helpful_prompts"),
        (["sft.helpful_prompts=null", "sft.helpful_share=0.2"], "0.2 has no effect"),
        (["sft.helpful_share=0"], "sft.helpful_prompts: pocket:helpful is not used"),
        (["sft.helpful_prompts=null", "sft.helpful_share=0"], ""),
        ([], ""),
    ],
)
def test_a_share_of_nothing_is_said_at_the_start_and_in_the_dry_run(
    folder: Path, capsys: pytest.CaptureFixture[str], sets: list[str], words: str
) -> None:
    asked = config(*sets)
    assert [line for line in inert(asked) if words and words in line] == inert(asked)
    assert bool(words) == bool(inert(asked))

    show_plan(asked, folder / "run")
    assert (words in capsys.readouterr().out) if words else "has no effect" not in capsys.readouterr().out

    class Said(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

    async def nothing(run: Any) -> None:
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "STEPS", {"generate": nothing})
        patch.setattr("cai.pipeline.staleness.book", lambda *_: None)
        told = Said()
        launch.execute(asked, folder / "run", ["generate"], told)
    before = told.lines[: next(n for n, line in enumerate(told.lines) if "generate" in line)]
    assert [line for line in before if "sft.helpful" in line] == inert(asked)
