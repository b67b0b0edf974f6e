"""Rebuild the shipped pocket model: prompts, five phases of training, gates. One command:

    python -m tools.pocket.build [--out cai/pocket/model] [--scale 1.0]

docs/pocket.md states its time; ``--scale 0.01`` walks the same way in minutes, to a model that fails its
gates.
The result is equivalent to the shipped weights, not equal to them bit by bit: floating-point sums depend on
the machine, and the mixture of documents was still being tuned between the phases of the shipped model
(docs/pocket.md says how).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from cai.pocket import MODEL_PATH
from tools.pocket.prompts import write

#: (updates, learning rate) of each phase, a schedule of its own from warm-up to decay.
PHASES = ((1500, 0.012), (1250, 0.009), (850, 0.008), (1350, 0.008), (500, 0.003))


def run(module: str, *arguments: object) -> int:
    command = [sys.executable, "-u", "-m", f"tools.pocket.{module}", *map(str, arguments)]
    return subprocess.run(command, check=False).returncode


def build(out: Path, work: Path, scale: float) -> int:
    """Train all phases, each from the one before; the exit status of the gates."""
    init: tuple[object, ...] = ()
    for i, (updates, rate) in enumerate(PHASES, start=1):
        target = out if i == len(PHASES) else work / f"phase{i}"
        steps = max(2, round(updates * scale))
        if status := run("train", "--out", target, "--steps", steps, "--lr", rate, "--seed", i, *init):
            return status
        init = ("--init", target)
    return run("gates", "--model", out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL_PATH)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of updates")
    args = parser.parse_args()
    write()
    with tempfile.TemporaryDirectory() as folder:
        raise SystemExit(build(args.out, Path(folder), args.scale))


if __name__ == "__main__":
    main()
