"""A training round with human votes, by the command line, on a finished run."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_run import SMALL, cai

from cai.data.tables import preference_from, preference_row
from cai.data.verdicts import BOTH_BAD
from cai.run.folder import RunFolder
from cai.values.types import Source

pytestmark = pytest.mark.slow


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("data/*")}


def test_a_round_with_people_in_it(finished: Path, tmp_path: Path) -> None:
    """Votes from a file, a share of them in the mixture; what does not depend on them stays as it was."""
    shutil.copytree(finished / "run", tmp_path / "run")
    shutil.copy(finished / "c.yaml", tmp_path)
    before = files(tmp_path / "run")
    labels = RunFolder(tmp_path / "run").read_table("preferences", preference_from)
    rows = [
        {"q": p.comparison.prompt.messages[-1].content, "x": p.comparison.a, "y": p.comparison.b, "w": "x"}
        for p in labels[:5]
    ]
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    imported = cai(
        "import",
        "votes.jsonl",
        "--to",
        "own.jsonl",
        "--columns",
        "prompt=q,a=x,b=y,preferred=w",
        cwd=tmp_path,
    )
    assert imported.returncode == 0, imported.stderr
    command = ["run", "--constitution", "c.yaml", "--run", "run", *SMALL]
    command += ["--human", "own.jsonl", "--human-share", "0.5"]
    refused = cai(*command, cwd=tmp_path)
    assert refused.returncode == 2
    assert "human.share None→0.5" in refused.stderr
    assert files(tmp_path / "run") == before
    done = cai(*command, "--replace", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    mixture = RunFolder(tmp_path / "run").read_table("mixture", preference_from)
    kinds = [row.source.kind for row in mixture]
    assert kinds.count("human") == kinds.count("ai") == 5
    # People chose x, and an import may call it b.
    chosen = {row.comparison.a if row.p == 1.0 else row.comparison.b for row in mixture[:5]}
    assert chosen == {row["x"] for row in rows}
    assert "human" in done.stdout
    assert "5 of 5 taken" in done.stdout
    after = files(tmp_path / "run")
    changed = {name for name in after if after[name] != before.get(name)}
    measured = {"monitors.parquet", "monitor_phrases.parquet"}  # of the policy
    assert changed - measured == {"mixture.parquet", "eval_policy.parquet"}
    again = cai(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert files(tmp_path / "run") == after


def test_route_import_and_mix_on_a_run_folder(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    shutil.copy(finished / "c.yaml", tmp_path)
    routed = cai("route", "run", "--budget", "4", "--json", cwd=tmp_path)
    assert routed.returncode == 0, routed.stderr
    assert json.loads(routed.stdout)["queued"] == 4
    exported = cai(
        "export", "run", "--table", "preferences", "--format", "cai", "--to", "a.jsonl", cwd=tmp_path
    )
    assert exported.returncode == 0, exported.stderr
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    votes = [{**row, "source": {"kind": "human", "name": "ann"}} for row in lines]
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in votes))
    assert cai("import", "votes.jsonl", "--to", "run", cwd=tmp_path).returncode == 0
    mixed = cai("mix", "run", "--set", "human.conflict=average", cwd=tmp_path)
    assert mixed.returncode == 0, mixed.stderr
    folder = RunFolder(tmp_path / "run")
    metrics = folder.read_metrics()
    assert metrics["mix/human/taken"].value == len(votes)
    assert metrics["mix/pocket/averaged with people's votes"].value == len(votes)
    assert "counts as 1.00 votes" in mixed.stderr
    nothing_left = cai("route", "run", cwd=tmp_path)
    assert nothing_left.returncode == 2
    assert "no pair is left to judge" in nothing_left.stderr


def test_both_bad_votes_are_counted_and_fail_no_command(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "run", symlinks=True)
    shutil.copy(finished / "c.yaml", tmp_path)
    folder = RunFolder(tmp_path / "run")
    judged = folder.read_table("preferences", preference_from)[0]
    bad = replace(judged, p=None, source=Source("human", "ann"), judgements=(), unscored=BOTH_BAD, raw=None)
    folder.write_table("human", [preference_row(bad)])
    for command in (["mix"], ["mix"], ["train", "dpo"], ["monitor"]):
        done = cai(*command, "run", cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
        assert "quarantined" not in done.stdout
    metrics = folder.read_metrics()
    assert metrics["mix/human/both bad"].value == metrics["mix/pocket/people found both bad"].value == 1
    assert not folder.read_failures()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--human", "none.jsonl"], "no such file"),
        (["--human-share", "1.5"], "--human-share"),
        (["--set", "human.conflict=both"], "human.conflict"),
        (["--set", "human.by_tags={}"], "did you mean 'by_tag'"),
    ],
)
def test_what_is_wrong_is_said_before_any_model_is_asked(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = cai("run", "--constitution", "harmless.yaml", "--run", "run", *SMALL, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "journal.sqlite").exists()
