"""The whole loop with the real pocket model, small: what it leaves, and what running it again costs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import SMALL, cai

from cai.constitution.load import dump, load_constitution
from cai.data.tables import comparison_from, preference_from, transcript_from
from cai.run.folder import RunFolder

pytestmark = pytest.mark.slow


def journal(folder: Path) -> dict[str, str]:
    """key → request, as JSON text."""
    with sqlite3.connect(folder / "journal.sqlite") as database:
        return dict(database.execute("SELECT key, request FROM answers"))


def test_everything_is_there(finished: Path) -> None:
    folder = RunFolder(finished / "run")
    for name in ("config.yaml", "constitution.yaml", "manifest.json", "metrics.json", "journal.sqlite"):
        assert (folder.path / name).stat().st_size > 0, name
    metrics = json.loads(folder.metrics.read_text())
    for metric in ("harmful", "refused_benign", "on_topic", "flattering"):
        for stage in ("base", "sft", "policy"):
            score = metrics[f"eval/pocket/{metric}/{stage}"]
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
            assert score["n"] > 0
    transcripts = folder.read_table("transcripts", transcript_from)
    assert len({t.prompt.id for t in transcripts}) == len(transcripts) == 12
    preferences = folder.read_table("preferences", preference_from)
    comparisons = folder.read_table("comparisons", comparison_from)
    assert [p.comparison for p in preferences] == comparisons
    assert (finished / "latest").resolve() == folder.path


def test_running_again_asks_nothing_and_changes_nothing(finished: Path) -> None:
    folder = finished / "run"
    before = {path: path.read_bytes() for path in folder.glob("data/*")}
    asked = journal(folder)
    done = cai("run", "--constitution", "c.yaml", "--run", "run", *SMALL, cwd=finished)
    assert done.returncode == 0, done.stderr
    assert journal(folder) == asked
    assert {path: path.read_bytes() for path in folder.glob("data/*")} == before


def test_checkpoints_load_in_another_process(finished: Path) -> None:
    code = (
        "import sys\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "for path in sys.argv[1:]:\n"
        "    model = AutoModelForCausalLM.from_pretrained(path)\n"
        "    tokenizer = AutoTokenizer.from_pretrained(path)\n"
        "    ids = tokenizer.apply_chat_template([{'role': 'user', 'content': 'hello'}], "
        "add_generation_prompt=True, return_tensors='pt', return_dict=True)\n"
        "    answer = model.generate(**ids, max_new_tokens=4, do_sample=False)\n"
        "    assert answer.shape[1] > ids['input_ids'].shape[1]\n"
    )
    paths = [str(finished / "run/checkpoints" / name) for name in ("sft", "policy")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rewording_one_principle_asks_only_for_what_depends_on_it(finished: Path) -> None:
    """Only rounds and verdicts that drew the principle, and what follows from their answers, are asked."""
    folder = finished / "run"
    text = (finished / "c.yaml").read_text()
    constitution = load_constitution(finished / "c.yaml")
    first, *others = constitution.principles
    reworded = replace(first, critique=f"{first.critique} Be exact.")
    drew = {
        t.prompt.id
        for t in RunFolder(folder).read_table("transcripts", transcript_from)
        if any(r.principle_id == first.id for r in t.rounds)
    }
    assert 0 < len(drew) < 12, "choose another seed: the principle must be drawn by some prompts only"
    before = journal(folder)
    (finished / "c.yaml").write_text(dump(replace(constitution, principles=(reworded, *others))))
    try:
        done = cai("run", "--constitution", "c.yaml", "--run", "run", *SMALL, cwd=finished)
        assert done.returncode == 0, done.stderr
    finally:
        (finished / "c.yaml").write_text(text)
    new = {key: json.loads(request) for key, request in journal(folder).items() if key not in before}
    critiques = [r for r in new.values() if any("Be exact." in m["content"] for m in r["messages"])]
    assert critiques
    transcripts = RunFolder(folder).read_table("transcripts", transcript_from)
    prompts = {t.prompt.messages[-1].content for t in transcripts if t.prompt.id in drew}
    asked_of = {
        r["messages"][0]["content"] for r in new.values() if "options" not in r and len(r["messages"]) > 1
    }
    assert asked_of <= prompts, "a critique or revision was asked of a prompt that never drew the principle"


def test_a_run_that_was_moved_goes_on_with_its_own_copy_of_the_constitution(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished / "run", tmp_path / "moved")
    asked, config = journal(tmp_path / "moved"), (tmp_path / "moved/config.yaml").read_text()
    done = cai("label", "moved", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "constitution c.yaml is not here; moved/constitution.yaml, the run's own copy" in done.stderr
    assert journal(tmp_path / "moved") == asked
    assert (tmp_path / "moved/config.yaml").read_text() == config
    slip = cai("run", "--constitution", "d.yaml", "--run", "moved", cwd=tmp_path)
    assert slip.returncode == 2
    assert "no constitution 'd.yaml'" in slip.stderr


def test_two_commands_in_one_folder_do_not_meet(finished: Path) -> None:
    with RunFolder(finished / "run").locked():
        done = cai("label", "run", cwd=finished)
    assert done.returncode == 2
    assert "another cai command is working" in done.stderr
