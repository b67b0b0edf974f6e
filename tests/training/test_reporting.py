"""``report_to: [tensorboard]``: the event files hold what the trainings and metrics.json say."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_train_steps import MANY, a_run

from cai.config.run_config import RunConfig
from cai.data import tables
from cai.pipeline.launch import execute
from cai.pipeline.steps.rl import step_ppo
from cai.pipeline.steps.train import step_dpo
from cai.run.folder import RunFolder
from cai.run.progress import Silent
from cai.training.reporting import report_metrics, reporting
from cai.values.errors import UsageError
from cai.values.types import Message, Prompt, Response, Score


def events(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows of a folder: values by step, by name."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return {name: {e.step: e.value for e in read.Scalars(name)} for name in read.Tags()["scalars"]}


def told(run: Path, *steps: int) -> None:
    with reporting(["tensorboard"], run, "sft") as report:
        for step in steps:
            report(step, {"loss": 1 / step})


def test_figures_are_read_back(tmp_path: Path) -> None:
    told(tmp_path, 1, 2)
    assert events(tmp_path / "logs" / "sft") == {"loss": {1: 1.0, 2: 0.5}}


def test_a_training_that_goes_on_replaces_what_it_does_again(tmp_path: Path) -> None:
    told(tmp_path, 1, 2, 3)
    told(tmp_path, 3, 4)  # killed in step 3
    assert list(events(tmp_path / "logs" / "sft")["loss"]) == [1, 2, 3, 4]
    told(tmp_path, 1)  # begun anew
    assert events(tmp_path / "logs" / "sft") == {"loss": {1: 1.0}}


def test_nothing_is_written_where_nothing_is_asked(tmp_path: Path) -> None:
    with reporting([], tmp_path, "sft") as report:
        report(1, {"loss": 1.0})
    with reporting(["tensorboard"], tmp_path, "sft"):
        pass  # a training that lay there finished
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = RunConfig.model_validate({"report_to": ["tensorboard"]})
    with pytest.raises(UsageError, match=r"cai\[tracking\]"):
        execute(config, tmp_path / "run", [], Silent())
    assert not (tmp_path / "run").exists()


def test_a_walk_ends_with_metrics_and_intervals(tmp_path: Path) -> None:
    config = RunConfig.model_validate({"report_to": ["tensorboard"]})
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / "journal.sqlite").touch()
    folder.record_metrics({"eval/judge/harmful/base": Score(0.5, 0.25, 0.75, 12)}, drop="nothing")
    for _ in range(2):  # run again, the figures are not there twice
        execute(config, folder.path, [], Silent())
    key = "eval/judge/harmful/base"
    assert events(folder.path / "logs" / "metrics") == {
        key: {1: 0.5},
        f"{key}/low": {1: 0.25},
        f"{key}/high": {1: 0.75},
    }
    report_metrics((), tmp_path, folder.read_metrics())
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
async def test_every_update_of_a_training_is_reported(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(
        "def short(prompts, texts):\n    return [-float(len(text)) for text in texts]\n"
    )
    settings = {
        "report_to": ["tensorboard"],
        "reward": [{"source": f"{tmp_path / 'reward.py'}:short"}],
        "ppo": {"steps": 2, "prompts": 4, "max_tokens": 8, "sampler": "transformers"},
    }
    with a_run(tmp_path / "run", tiny_model, MANY[:16]) as made:
        given = made.config.model_dump(mode="json") | settings
        given["dpo"] |= {"max_steps": 3}
        given["ppo"] = made.config.ppo.model_dump(mode="json") | settings["ppo"]
        run = replace(made, config=RunConfig.model_validate(given))
        prompts = [Prompt(f"q{i}", (Message("user", f"What is {i}?"),)) for i in range(4)]
        answers = [tables.response_row(Response(prompt, "Hm.")) for prompt in prompts]
        run.folder.write_table("responses", answers)
        await step_dpo(run)
        await step_ppo(run)
        logs = run.folder.path / "logs"
    dpo, ppo = events(logs / "dpo"), events(logs / "ppo")
    assert set(dpo["loss"]) == {1, 2, 3} and {"learning_rate", "tokens"} <= set(dpo)
    assert set(ppo["reward"]) == {1, 2} and len(ppo) > 5
