"""A small run by the command line, for tests of what follows one. The fixture is in conftest.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SMALL = [
    "--engine=transformers",
    "--limit=12",
    "--set=evaluate.limit=80",
    "--set=sft.batch_size=8",
    "--set=dpo.batch_size=4",
    "--set=sft.max_steps=3",
    "--set=dpo.max_steps=3",
]


def cai(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cai", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
