"""A run folder that an earlier cai made goes on under this one without a new question to a model.

``earlier_run/`` holds a finished run of a random model of 0.1M parameters, as it was written on 2026-11-28
before the package was divided into rooms. Where journal or training keys change on purpose, this test says
that users' folders will be made again: then say so in the changelog, and store a new run.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from small_run import cai

STORED = Path(__file__).with_name("earlier_run")


def answers(run: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(run / "journal.sqlite")) as journal:
        return sorted(journal.execute("SELECT * FROM answers").fetchall())


def test_an_earlier_run_goes_on_as_it_was(tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(STORED, home)
    before = answers(home / "run")
    assert len(before) > 60
    weights = (home / "run/checkpoints/policy/model.safetensors").stat().st_mtime_ns

    # A random model's letters have next to none of the probability, and then there was no floor under that.
    done = cai("run", "--config", "config.yaml", "--run", "run", "--set", "label.min_mass=0", cwd=home)

    assert done.returncode == 3, done.stderr  # as then: the random judge cannot be read, and exit 3 says so
    assert answers(home / "run") == before
    assert (home / "run/checkpoints/policy/model.safetensors").stat().st_mtime_ns == weights
    stored = json.loads((STORED / "run/metrics.json").read_text())
    now = json.loads((home / "run/metrics.json").read_text())
    assert stored.pop("monitor/tripped")["value"] == now["monitor/tripped"]["value"]  # of more monitors today
    for name, score in stored.items():
        if name.startswith(("sft/", "dpo/")):  # a training's figures had an interval then
            score |= {"low": now[name]["low"], "high": now[name]["high"]}
    assert {name: now.get(name) for name in stored} == stored
    assert (home / "run/report.html").exists()
