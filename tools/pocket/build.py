"""Rebuild the shipped pocket model: prompts, two phases of training, gates. One command:

    python -m tools.pocket.build [--out cai/pocket/model]

docs/pocket.md states its time. The result is equivalent to the shipped weights, not equal to them bit by
bit: floating-point sums depend on the machine, and the shipped model was made while the grammar's mixture
of documents was still being tuned between the phases.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cai.pocket import MODEL_PATH
from tools.pocket.prompts import write

PHASES = (
    ("--steps", "1500", "--seed", "1", "--lr", "0.012"),
    ("--steps", "1250", "--seed", "2", "--lr", "0.009"),
)
#: glibc hands freed tensors back to the system and faults them in again, which halves the speed.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000"}


def phase(out: Path, init: Path | None, arguments: tuple[str, ...]) -> None:
    """Each phase is a process of its own, so that the allocator's settings hold from its start."""
    command = [sys.executable, "-u", "-m", "tools.pocket.train", "--out", str(out), *arguments]
    command += [] if init is None else ["--init", str(init)]
    subprocess.run(command, check=True, env=os.environ | MALLOC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL_PATH)
    args = parser.parse_args()
    write()
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first"
        phase(first, None, PHASES[0])
        phase(args.out, first, PHASES[1])
    raise SystemExit(
        subprocess.run(
            [sys.executable, "-m", "tools.pocket.gates", "--model", str(args.out)], check=False
        ).returncode
    )


if __name__ == "__main__":
    main()
