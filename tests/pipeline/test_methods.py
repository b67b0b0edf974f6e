"""Every way to learn from the labels, and rounds, by command line with the real pocket model, small."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from small_run import SMALL, cai

from cai.run.folder import RunFolder

pytestmark = pytest.mark.slow

TINY = [
    *SMALL,
    "--set=evaluate.limit=24",
    "--set=reward_model.max_steps=3",
    "--set=reward_model.held_out=0.3",
    *(f"--set={m}.{s}" for m in ("ppo", "grpo", "rloo") for s in ("steps=2", "prompts=4", "max_tokens=24")),
    *(f"--set={m}.sampler=transformers" for m in ("ppo", "grpo", "rloo")),
    "--set=grpo.group_size=2",
    "--set=rloo.group_size=2",
    "--set=best_of_n.n=2",
]


def go_on(finished: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``cai run`` over a copy of the finished run, in ``home``."""
    if not (home / "run").exists():
        shutil.copytree(finished / "run", home / "run")
    constitution = str(finished / "c.yaml")
    done = cai(
        "run", "--constitution", constitution, "--run", "run", "--replace", *TINY, *arguments, cwd=home
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_method_goes_on_from_the_labels(finished: Path, tmp_path: Path, method: str) -> None:
    go_on(finished, tmp_path, "--method", method)
    folder = RunFolder(tmp_path / "run")
    metrics = json.loads(folder.metrics.read_text())
    assert metrics["eval/pocket/gold/policy"]["n"] == 24
    assert metrics["reward/log_loss"]["n"] > 0
    rows = folder.read_table("overoptimisation", dict)
    assert metrics[f"{method}/steps"]["value"] == 2
    assert [(row["method"], row["step"]) for row in rows] == [(method, 0), (method, 1)]
    assert all(row["gold_n"] == row["proxy_n"] > 0 for row in rows)


def test_dpo_stands_beside_the_others_once_there_is_a_reward(finished: Path, tmp_path: Path) -> None:
    assert not RunFolder(finished / "run").table("overoptimisation").exists()  # dpo, and no reward
    go_on(finished, tmp_path, "--method", "best-of-n")
    folder = RunFolder(tmp_path / "run")
    assert folder.read_metrics()["eval/pocket/gold/best-of-n"].n == 24
    others = folder.read_table("overoptimisation", dict)
    done = cai("train", "dpo", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *kept, row = folder.read_table("overoptimisation", dict)
    assert kept == others
    assert [(r["method"], r["step"], r["kl_is"]) for r in kept] == [
        ("best-of-n", 1, "bound"),
        ("best-of-n", 2, "bound"),
    ]
    assert (row["method"], row["step"], row["kl_is"]) == ("dpo", 3, "estimate")
    assert row["kl_low"] < row["kl"] < row["kl_high"]
    assert row["kl_n"] == row["proxy_n"] == row["gold_n"] == 24


def test_a_judge_is_reward_enough(finished: Path, tmp_path: Path) -> None:
    """d-RLAIF: no labels, no reward model; a judge and a function are added up."""
    (tmp_path / "mine.py").write_text(
        "def short(prompts, responses):\n    return [-len(r) / 100 for r in responses]\n"
    )
    reward = "--set=reward=[{source: judge}, {source: 'mine.py:short', weight: 0.1}]"
    done = go_on(finished, tmp_path, "--method", "ppo", reward)
    assert "] reward" not in done.stderr and "] label" not in done.stderr
    rows = RunFolder(tmp_path / "run").read_table("overoptimisation", dict)
    assert len(rows) == 2


def test_two_rounds(finished: Path, tmp_path: Path) -> None:
    """The second round starts from the first one's policy, and learns the first one's pairs again."""
    done = go_on(finished, tmp_path, "--rounds", "2", "--set=rounds.patience=null")
    assert "policy after each round" in done.stdout
    assert "newest policy: run/rounds/2/checkpoints/policy" in done.stdout
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run" / "rounds" / "2")
    metrics = json.loads(first.metrics.read_text())
    for number in (1, 2):
        assert metrics[f"rounds/{number}/pocket/harmful/policy"]["n"] > 0
    pairs = [json.loads(folder.metrics.read_text())["label/scored"]["value"] for folder in (first, second)]
    used = json.loads(second.metrics.read_text())
    left_out = sum(v["value"] for k, v in used.items() if k.startswith("dpo/left_out"))
    assert used["dpo/rows"]["value"] + left_out == sum(pairs)
    assert json.loads((tmp_path / "run" / "rounds.json").read_text())["stopped"] is None
