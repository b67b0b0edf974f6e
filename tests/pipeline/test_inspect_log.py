"""``cai export --format inspect``: the form of an Inspect log, and what of a run is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_run import cai

from cai.constitution.load import dump, load_constitution
from cai.data.tables import response_row, transcript_row
from cai.pipeline.steps.inspect_log import describe, export_inspect
from cai.run.folder import RunFolder
from cai.values.errors import UsageError
from cai.values.types import Message, Outcome, Prompt, Response, Round, Score, Transcript

ASKED = Prompt("p1", (Message("system", "Be kind."), Message("user", "How?")), ("harmful",))
ROUNDS = (
    Round(0, "no-harm", "It helps with harm.", Outcome.REVISED, "Better not.", "Better not."),
    Round(1, "turn-down-harm", "Nothing to say.", Outcome.NO_PROBLEM, "Better not.", None),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_text("config.yaml", "model: pocket\nseed: 7\n")
    folder.write_text("constitution.yaml", dump(load_constitution("harmless")))
    folder.write_text("manifest.json", json.dumps({"packages": {"cai": "0.1.0"}, "config": "abc", "seed": 7}))
    plain = Transcript(Prompt("p2", (Message("user", "Ünïcode \U0001f600?"),)), "Yes.")
    folder.write_table("transcripts", map(transcript_row, [Transcript(ASKED, "Like this.", ROUNDS), plain]))
    held = Prompt("h1", (Message("user", "Who?"),), ("benign",))
    row = response_row(Response(held, "Nobody", "length"))
    folder.write_table(
        "eval_base", [{**row, "judge/harmful": True, "judge/refused": None, "text/words": 1.0}]
    )
    folder.write_table("eval_policy", [{**row, "response": "Me", "finish": "stop"}])
    scores = {"eval/judge/harmful/base": Score(0.5, 0.25, 0.75, 12), "sft/loss": Score(1.0, 1.0, 1.0, 1)}
    folder.record_metrics(scores, drop="nothing")
    return folder.path


def exported(run: Path) -> dict[str, Any]:
    export_inspect(run, run / "log" / "run.json")
    log: dict[str, Any] = json.loads((run / "log" / "run.json").read_text(encoding="utf-8"))
    return log


def test_it_has_what_inspect_requires(run: Path) -> None:
    """The fields that have no default in inspect_ai 0.3."""
    log = exported(run)
    assert log["version"] == 2 and log["status"] == "success"
    assert {"created", "task", "dataset", "model", "config"} <= set(log["eval"])
    assert log["eval"]["created"].endswith("+00:00")
    assert list(log)[:4] == [
        "version",
        "status",
        "eval",
        "plan",
    ]  # readers of headers stop before the samples
    assert list(log)[-1] == "samples"
    for sample in log["samples"]:
        assert {"id", "epoch", "input", "target"} <= set(sample)
        for turn in [*sample["input"], *sample["messages"]]:
            assert turn["role"] in {"system", "user", "assistant"} and isinstance(turn["content"], str)
            assert turn["source"] in {"input", "generate"}
        (choice,) = sample["output"]["choices"]
        assert choice["stop_reason"] in {"stop", "max_tokens"}
        assert sample["output"]["completion"] == choice["message"]["content"]
        assert all("value" in score for score in (sample["scores"] or {}).values())
    ids = [sample["id"] for sample in log["samples"]]
    assert ids == log["eval"]["dataset"]["sample_ids"] and len(set(ids)) == len(ids) == 4
    assert log["results"]["total_samples"] == log["results"]["completed_samples"] == 4


def test_a_revision_is_told_in_turns(run: Path) -> None:
    sample = exported(run)["samples"][0]
    said = [(turn["role"], turn["content"]) for turn in sample["messages"]]
    no_harm, turn_down = load_constitution("harmless").principles[:2]
    assert (no_harm.id, turn_down.id) == ("no-harm", "turn-down-harm")
    assert said == [
        ("system", "Be kind."),
        ("user", "How?"),
        ("assistant", "Like this."),
        ("user", no_harm.critique),
        ("assistant", "It helps with harm."),
        ("user", no_harm.revision),
        ("assistant", "Better not."),
        ("user", turn_down.critique),
        ("assistant", "Nothing to say."),
    ]
    assert sample["output"]["completion"] == "Better not."
    assert sample["scores"]["outcome"]["value"] == "no_problem"
    assert sample["metadata"]["outcomes"] == [
        {"round": 0, "principle": "no-harm", "outcome": "revised"},
        {"round": 1, "principle": "turn-down-harm", "outcome": "no_problem"},
    ]


def test_an_answer_has_its_models_name_and_figures(run: Path) -> None:
    base, policy = exported(run)["samples"][2:]
    assert (base["id"], policy["id"]) == ("base/h1", "policy/h1")
    assert base["scores"] == {"judge/harmful": {"value": True, "answer": "Nobody"}}
    assert base["output"]["model"] == "base" and base["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert policy["scores"] is None  # ungraded is not a score of 0
    assert policy["metadata"] == {"kind": "answer", "model": "policy", "tags": ["benign"]}


def test_figures_keep_their_intervals(run: Path) -> None:
    (score,) = exported(run)["results"]["scores"]
    assert (score["name"], score["scorer"]) == ("judge/harmful", "judge")
    about = {"low": 0.25, "high": 0.75, "n": 12}
    assert score["metrics"] == {"base": {"name": "base", "value": 0.5, "metadata": about}}


def test_equal_runs_have_equal_logs(run: Path) -> None:
    assert exported(run) == exported(run)


def test_the_command(run: Path) -> None:
    target = run / "run.json"
    done = cai("export", str(run), "--format", "inspect", "--to", str(target), cwd=run)
    assert done.returncode == 0, done.stderr
    assert "4 samples as an Inspect log" in done.stdout
    assert describe(export_inspect(run, target))[1:3] == [
        "  2 revised prompts",
        "  2 answers to held-out prompts",
    ]


def test_what_cannot_be_exported_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.json"):
        export_inspect(run, tmp_path / "x.jsonl")
    with pytest.raises(UsageError, match="not a run folder"):
        export_inspect(tmp_path, tmp_path / "x.json")
    (run / "data" / "transcripts.parquet").unlink()
    assert len(exported(run)["samples"]) == 2
    for name in ("base", "policy"):
        (run / "data" / f"eval_{name}.parquet").unlink()
    with pytest.raises(UsageError, match="neither transcripts nor answers"):
        export_inspect(run, tmp_path / "x.json")
