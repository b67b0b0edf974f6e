"""Change one setting of a finished run and run again: are the figures those of a fresh folder?

    python -m benchmarks.changed_settings [--method dpo] [--only label.] [--folder tests/pipeline/earlier_run]

Every setting that shapes an output is changed by itself in a copy of a small finished run (a random model).
Printed: the settings whose metrics.json differs from that of a fresh folder, which should be none, and those
for which no other valid value was found. Trainings are deterministic on one machine, and so is the engine on
transformers in float32: equality is to the last digit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cai.config.run_config import RunConfig
from cai.config.settings import resolve
from cai.pipeline.launch import execute
from cai.pipeline.lineage import experiment, settings_of
from cai.pipeline.order import steps_of
from cai.run.progress import Silent
from cai.values.errors import CaiError

#: What names a model or a file: changed by other means than a number.
NAMED = ("model.", "critic", "labeler", "evaluate.judge", "constitution", "templates", "prompts", "gold")
TRIED = (
    *("true", "false", "1", "2", "3", "0.5", "0.25", "0.9", "1.5", "5", "64"),
    *("last", "geometric", "cosine", "linear", "float32", "bfloat16", "transformers"),
    *("majority", "average", "weight", "isotonic", "shared", "judge"),
)


def values(config: RunConfig, name: str, sets: list[str]) -> Iterator[str]:
    """Other valid values of a setting."""
    before = settings_of(config)[name]
    for text in TRIED:
        try:
            if (
                settings_of(resolve(Path("config.yaml"), [*sets, f"{name}={text}"], {}, {})).get(name)
                != before
            ):
                yield text
        except CaiError:
            continue


def walk(sets: list[str]) -> str:
    config = resolve(Path("config.yaml"), sets, {}, {})
    execute(config, Path("run"), steps_of(config), Silent(), replace=True)
    return Path("run/metrics.json").read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="dpo")
    parser.add_argument("--only", default="", help="settings that begin so")
    parser.add_argument("--folder", type=Path, default=Path("tests/pipeline/earlier_run"))
    asked = parser.parse_args()
    source, sets = asked.folder.resolve(), [f"method={asked.method}", "label.min_mass=0"]
    wrong: list[str] = []
    untried: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        base, home = Path(scratch) / "base", Path(scratch) / "home"
        shutil.copytree(source, base)
        os.chdir(base)
        config = resolve(Path("config.yaml"), sets, {}, {})
        shutil.rmtree("run")  # its answers are an earlier engine's
        walk(sets)
        for name in experiment(config):
            if name.startswith(NAMED) or not name.startswith(asked.only):
                continue
            value = next(values(config, name, sets), None)
            if value is None:
                untried.append(name)
                continue
            found = []
            for fresh in (False, True):
                shutil.rmtree(home, ignore_errors=True)
                shutil.copytree(base, home)
                os.chdir(home)
                if fresh:
                    shutil.rmtree("run")
                try:
                    found.append(walk([*sets, f"{name}={value}"]))
                except CaiError as error:
                    found.append(f"{type(error).__name__}: {error}")
            count += 1
            same = found[0] == found[1]
            print(f"{name}={value}: {'same' if same else 'DIFFERENT'}", flush=True)
            if not same:
                wrong.append(name)
        os.chdir(source)
    print(json.dumps({"changed": count, "different": wrong, "no other value": untried}, indent=2))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
