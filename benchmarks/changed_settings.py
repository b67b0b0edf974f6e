"""Change one setting of a finished run and run again: are the figures those of a fresh folder?

    python -m benchmarks.changed_settings [--method dpo] [--only label.] [--journal]
                                          [--folder tests/pipeline/earlier_run]

Every setting that shapes an output is changed by itself in a copy of a small finished run (a random model).
Printed: the settings whose metrics.json differs from that of a fresh folder, which should be none, and those
for which no other value was found with which the run comes to its end. With ``--journal`` the fresh folder
starts with the finished run's answers, which takes a third of the time. Trainings are deterministic on one
machine, and so is the engine on transformers in float32: equality is to the last digit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
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
#: A small training of each method; the defaults take an hour on a CPU.
SMALL = {
    "ppo": ("steps=2", "prompts=4", "max_tokens=16", "epochs=2", "micro_batch_size=4"),
    "grpo": ("steps=2", "prompts=2", "max_tokens=16", "group_size=2", "micro_batch_size=4"),
    "rloo": ("steps=2", "prompts=2", "max_tokens=16", "group_size=2", "micro_batch_size=4"),
    "best_of_n": ("n=2", "max_tokens=16"),
    "reward_model": ("max_steps=2", "batch_size=2", "max_length=256"),
}
MOST_VALUES = 3  # other values that are tried where the run does not come to its end


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


#: What a fresh folder keeps with ``--journal``.
KEPT = ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm")


def outcome(base: Path, home: Path, sets: list[str], kept: Sequence[str] | None) -> str | CaiError:
    """metrics.json of a run in a copy of ``base``, or why there is none.

    ``kept``: of the run folder, as for a fresh one; None keeps everything.
    """
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(base, home)
    os.chdir(home)
    for path in list((home / "run").iterdir()):
        if kept is not None and path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        return walk(sets)
    except CaiError as error:
        return error


def difference(again: str | CaiError, fresh: str | CaiError) -> str:
    """``same``, or what differs."""
    if again == fresh:
        return "same"
    if isinstance(again, CaiError) or isinstance(fresh, CaiError):
        return f"DIFFERENT: {str(again)[:200]} / {str(fresh)[:200]}"
    one, other = json.loads(again), json.loads(fresh)
    return f"DIFFERENT: {[key for key in one | other if one.get(key) != other.get(key)]}"


def walk(sets: list[str]) -> str:
    config = resolve(Path("config.yaml"), sets, {}, {})
    execute(config, Path("run"), steps_of(config), Silent(), replace=True)
    return Path("run/metrics.json").read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="dpo")
    parser.add_argument("--only", default="", help="settings that begin so")
    parser.add_argument("--journal", action="store_true", help="fresh folders keep the answers")
    parser.add_argument("--folder", type=Path, default=Path("tests/pipeline/earlier_run"))
    asked = parser.parse_args()
    source, sets = asked.folder.resolve(), [f"method={asked.method}", "label.min_mass=0"]
    small = SMALL.get(asked.method.replace("-", "_"), ())
    sets += [f"{asked.method.replace('-', '_')}.{said}" for said in small]
    sets += [f"reward_model.{said}" for said in SMALL["reward_model"]]
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
            for value in islice(values(config, name, sets), MOST_VALUES):
                again, fresh = (
                    outcome(base, home, [*sets, f"{name}={value}"], kept)
                    for kept in (None, KEPT if asked.journal else ())
                )
                if isinstance(again, CaiError) and isinstance(fresh, CaiError):
                    print(f"{name}={value}: comes to no end ({fresh})", flush=True)
                    continue
                count += 1
                print(
                    f"{name}={value}: {difference(again, fresh)}",
                    flush=True,
                )
                wrong += [] if again == fresh else [name]
                break
            else:
                untried.append(name)
        os.chdir(source)
    print(json.dumps({"changed": count, "different": wrong, "no value that runs": untried}, indent=2))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
