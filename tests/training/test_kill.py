"""SIGKILL at many moments: the finished weights are those of an undisturbed training, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo", "reward"])
def test_killed_and_rerun(method: str, tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "killed.py"), str(tiny_model), str(tmp_path), method, "10"]
    path = os.pathsep.join([str(ROOT), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["whole"] == list(range(1, 21))
    weights = [tmp_path / name / "model.safetensors" for name in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    # Every attempt goes on where a checkpoint was, and at most ``save_steps`` updates are made again.
    reached = 0
    for steps in [*report["cut"], report["last"]]:
        if steps:
            assert reached - 3 <= steps[0] - 1 <= reached
            reached = max(reached, steps[-1])
    assert reached == 20
