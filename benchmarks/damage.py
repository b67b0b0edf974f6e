"""Damage every file of a finished run folder in turn and run again: is anything lost, wrong, or stopped?

    python -m benchmarks.damage [--only older] [--folder tests/pipeline/earlier_run]

Each file is truncated, emptied, overwritten with junk of its own size, and replaced by that of an older run
with another seed, in a copy of a small finished run
(a random model of 0.1M parameters). After each, the run is walked to its end, and its metrics.json compared
with that of the undamaged run. Printed: what stopped a run, and what changed a figure: both should be
nothing.
``config.yaml`` and ``constitution.yaml`` are written anew by every run.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from cai.config.settings import resolve
from cai.pipeline.launch import execute
from cai.pipeline.order import steps_of
from cai.run.progress import Silent

SEED = 0


def damages(path: Path, older: Path) -> dict[str, bytes]:
    """What is done to a file, and what it then holds. ``older``: the same file of an older run."""
    data, draw = path.read_bytes(), random.Random(SEED)
    found = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "junk": draw.randbytes(len(data)),
        "junk in the middle": data[: len(data) // 3]
        + draw.randbytes(len(data) // 3)
        + data[2 * (len(data) // 3) :],
    }
    return found | ({"older": older.read_bytes()} if older.is_file() else {})


def walk(*sets: str) -> str:
    config = resolve(Path("config.yaml"), ["label.min_mass=0", *sets], {}, {})  # a random model's labels
    execute(config, Path("run"), steps_of(config), Silent(), replace=True)
    return Path("run/metrics.json").read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("tests/pipeline/earlier_run"))
    parser.add_argument("--only", default="", help="damages that begin so")
    asked = parser.parse_args()
    source = asked.folder.resolve()
    stopped: list[str] = []
    changed: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        base, home, older = (Path(scratch) / name for name in ("base", "home", "older"))
        for folder, sets in ((older, ["seed=1"]), (base, [])):
            shutil.copytree(source, folder)
            os.chdir(folder)
            shutil.rmtree("run")  # a folder made today, whose checkpoints bear the hash of every file
            sound = walk(*sets)
        files = sorted(path.relative_to(base) for path in (base / "run").rglob("*") if path.is_file())
        for file in files:
            for kind, data in damages(base / file, older / file).items():
                if not kind.startswith(asked.only):
                    continue
                shutil.rmtree(home, ignore_errors=True)
                shutil.copytree(base, home)
                os.chdir(home)
                Path(file).write_bytes(data)
                count += 1
                try:
                    if walk() != sound:
                        changed.append(f"{file} {kind}")
                except Exception as error:
                    stopped.append(f"{file} {kind}: {type(error).__name__}: {error}")
            print(f"{file}: done", flush=True)
        os.chdir(source)
    print(f"{count} damages, {len(stopped)} stopped the run, {len(changed)} changed a figure")
    for line in (*stopped, *changed):
        print(f"  {line}")
    return bool(stopped or changed)


if __name__ == "__main__":
    sys.exit(main())
