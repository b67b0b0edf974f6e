"""Ctrl-C, SIGTERM and SIGHUP in a real run: it ends in seconds, says how to go on, and then goes on."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cai.run.folder import RunFolder

pytestmark = pytest.mark.slow

UPDATES = 48
SMALL = [
    "--engine=transformers",
    "--limit=16",
    "--set=evaluate.limit=8",
    "--set=sft.helpful_share=0",
    "--set=sft.batch_size=2",
    f"--set=sft.max_steps={UPDATES}",
    "--set=sft.epochs=9",  # more than so many updates take
    "--set=sft.save_steps=4",
    "--set=dpo.batch_size=4",
    "--set=dpo.max_steps=2",
]
# From the signal to the end of the process: a bound on hanging, whatever the speed of the machine.
SECONDS = 100.0
# During imports and on its way out the interpreter itself may end by the signal: a shell shows 130 for both.
STOPPED = (130, -signal.SIGINT)


def hears_interrupts() -> None:
    """As from a terminal: a shell starts what runs in the background with SIGINT ignored, tests included."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Command:
    """``cai run`` in a session of its own, as a shell starts it; what it says goes to ``log``."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, home: Path, run: str, *arguments: str) -> Command:
        log = home / f"{run}.log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "cai", "run", "--run", run, *(arguments or SMALL)]
            process = subprocess.Popen(
                command,
                cwd=home,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=hears_interrupts,  # noqa: PLW1509 (nothing else runs between fork and exec)
            )
        return cls(process, log)

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        while not ready():
            assert self.process.poll() is None, f"it ended first:\n{self.said()}"
            time.sleep(0.01)

    def interrupt(self, times: int = 1, number: signal.Signals = signal.SIGINT) -> float:
        """Ctrl-C reaches every process of the group. → seconds until the command has ended."""
        started = time.monotonic()
        for _ in range(times):
            os.killpg(self.process.pid, number)
            time.sleep(0.2)
        self.process.wait(timeout=120)
        return time.monotonic() - started

    def finish(self) -> None:
        assert self.process.wait(timeout=1200) in (0, 3), self.said()


def answers(folder: Path) -> int:
    """Answers in the journal; 0 while there is none."""
    try:
        with sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def check_stopped(command: Command, seconds: float, number: signal.Signals = signal.SIGINT) -> None:
    said = command.said()
    assert command.process.returncode == 128 + number, said
    assert seconds < SECONDS, f"{seconds:.1f} s:\n{said}"
    assert "Traceback" not in said
    assert "Every answer so far is in" in said
    assert "the same command goes on" in said


def digests(folder: Path) -> dict[str, str]:
    files = [*folder.glob("data/*.parquet"), *folder.glob("checkpoints/*/*.safetensors")]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


def test_interrupted_in_sampling_and_in_training_it_ends_as_if_left_alone(tmp_path: Path) -> None:
    calm = Command.start(tmp_path, "calm")
    calm.finish()

    folder = tmp_path / "run"
    sampling = Command.start(tmp_path, "run")
    sampling.wait_for(lambda: answers(folder) >= 3)
    check_stopped(sampling, sampling.interrupt(number=signal.SIGTERM), signal.SIGTERM)
    kept = answers(folder)
    assert kept >= 3
    assert not RunFolder(folder).table("transcripts").exists(), "it was not interrupted in sampling"

    def reached() -> int:
        steps = (folder / "checkpoints" / "sft.partial").glob("step-*")
        return max((int(step.name.removeprefix("step-")) for step in steps), default=0)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before = reached()
        training = Command.start(tmp_path, "run")
        training.wait_for(lambda before=before: reached() > before)
        check_stopped(training, training.interrupt(number=number), number)
        assert "saving a checkpoint" in training.said()
        assert answers(folder) > kept
        assert before < reached() < UPDATES

    last = Command.start(tmp_path, "run")
    last.finish()
    shown = re.search(rf"^sft: (\d+)/{UPDATES}", last.said(), re.MULTILINE)
    assert shown, "the training did not go on"
    assert digests(folder) == digests(tmp_path / "calm")
    metrics, expected = RunFolder(folder).read_metrics(), RunFolder(tmp_path / "calm").read_metrics()
    assert metrics == expected  # sft/tokens too, which two processes have counted


@pytest.mark.parametrize(
    ("engine", "delay"),
    [
        ("transformers", 0.5),
        pytest.param("vllm", 6.0, marks=pytest.mark.vllm),
    ],
)
def test_interrupted_while_a_model_is_loaded(engine: str, delay: float, tmp_path: Path) -> None:
    arguments = [f"--engine={engine}", *SMALL[1:]]
    loading = Command.start(tmp_path, "run", *arguments)
    loading.wait_for(lambda: "] generate" in loading.said())
    time.sleep(delay)
    check_stopped(loading, loading.interrupt())


def test_an_impatient_user_presses_twice(tmp_path: Path) -> None:
    command = Command.start(tmp_path, "run")
    command.wait_for(lambda: any((tmp_path / "run/checkpoints/sft.partial").glob("step-*")))
    seconds = command.interrupt(times=2)
    assert command.process.returncode in STOPPED, command.said()
    assert seconds < SECONDS
    assert "Traceback" not in command.said()


def test_interrupted_before_anything_is_loaded(tmp_path: Path) -> None:
    command = Command.start(tmp_path, "run")
    maps = Path(f"/proc/{command.process.pid}/maps")
    command.wait_for(lambda: "pydantic_core" in maps.read_text())  # in the middle of its imports
    seconds = command.interrupt()
    assert command.process.returncode in STOPPED, command.said()
    assert seconds < SECONDS
    assert "Traceback" not in command.said()
