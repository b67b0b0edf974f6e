"""kill −9 while verdicts are sampled, a server probed or throttled, a budget kept: nothing is paid twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from server_stubs import Provider, providers, serving

from tests.engines.verdict_asking import IN_FLIGHT, PAIRS, SAMPLES

ROOT = Path(__file__).parents[2]
KEY = "sk-do-not-keep-0123456789"
PROBED, SAMPLED = (
    3,
    14,
)  # of how many requests the last is killed: while it is probed, in the middle of sampling


def verdict(body: dict[str, Any]) -> str | None:
    """Which of the run's own questions a request is; None for a probe."""
    text = str(body["messages"])
    if "pair " not in text or "logprobs" in body:
        return None
    return f"{text.partition('pair ')[2][:1]}/{body.get('seed')}"


@pytest.mark.parametrize(
    ("dies_at", "throttled", "budget"),
    [(PROBED, False, None), (SAMPLED, False, None), (SAMPLED, True, None), (SAMPLED, False, 10**6)],
    ids=["probing", "sampling", "throttled", "with a budget"],
)
def test_a_killed_command_pays_for_nothing_twice(
    tmp_path: Path, dies_at: int, throttled: bool, budget: int | None
) -> None:
    running: list[subprocess.Popen[str]] = []
    held = Counter[str]()

    def refuse(body: dict[str, Any]) -> Any:
        if len(running) == 1 and len(provider.bodies) >= dies_at:
            os.kill(running[0].pid, signal.SIGKILL)
        name = verdict(body)
        if throttled and name is not None and not held[name]:
            held[name] += 1
            provider.bodies.pop()  # a 429 costs nothing
            return 429, {"error": {"message": "slow down", "retry_after": 0}}
        return None

    original = next(one for one in providers() if one.name == "LM Studio")
    provider: Provider = replace(original, bodies=[], refuse=(refuse,))
    environment = os.environ | {"A_KEY": KEY}

    def command(url: str) -> tuple[int, str]:
        program = [
            sys.executable,
            "-m",
            "tests.engines.verdict_asking",
            str(tmp_path / "journal.sqlite"),
            url,
        ]
        program += [str(budget)] if budget else []
        running.append(
            subprocess.Popen(program, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        )
        out, _ = running[-1].communicate(timeout=120)
        return running[-1].returncode, out

    with serving(provider) as url:
        assert command(url)[0] == -signal.SIGKILL
        code, out = command(url)
        assert code == 0 and len(out.split()) == PAIRS
        asked = Counter(name for body in provider.bodies if (name := verdict(body)))
        assert len(asked) == PAIRS * SAMPLES
        assert sum(asked.values()) - len(asked) <= IN_FLIGHT  # what was in flight, and no more
        before = len(provider.bodies)
        assert command(url) == (0, out)
        assert len(provider.bodies) == before  # nothing is asked, not even what it can
    for file in tmp_path.rglob("*"):
        assert KEY.encode() not in file.read_bytes(), file
