"""Killed at random moments: nothing lost, nothing doubled, nothing different."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kill_resume import compare


@pytest.mark.slow
def test_a_killed_run_ends_where_a_calm_one_does(tmp_path: Path) -> None:
    # One kill in each of eleven steps; the benchmark of the same name does more, and the commands behind it.
    assert compare(tmp_path, kills=11, limit=8, further=False) == []
