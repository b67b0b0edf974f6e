"""What the benchmarks share: run the command as a user would, and read what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """One finished ``cai`` command."""

    folder: Path
    metrics: dict[str, dict[str, float]]
    seconds: float
    peak_gib: float

    def value(self, key: str) -> float:
        return self.metrics[key]["value"]

    def shown(self, key: str) -> str:
        score = self.metrics[key]
        return f"{score['value']:.3f} [{score['low']:.2f}, {score['high']:.2f}] n={score['n']:.0f}"


def cai(folder: Path, *arguments: str) -> Done:
    """``cai run --run folder …`` in a process of its own; its standard error passes through."""
    started = time.monotonic()
    command = [sys.executable, "-m", "cai", "run", "--run", str(folder), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    metrics = json.loads((folder / "metrics.json").read_text())
    return Done(folder, metrics, time.monotonic() - started, usage.ru_maxrss / 2**20)
