"""SIGTERM and SIGHUP end a command as Ctrl-C does, with a code of their own; also in a closed terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# What a step does: work in a coroutine that takes its time to end in order, as a training does. ``ready`` is
# written when the signal may come.
PROGRAM = """
import asyncio, sys, time
from cai.cli import app as cli
from cai.cli.walk import finish

ready, ended = sys.argv[1:]

async def work():
    print("working", file=sys.stderr)
    open(ready, "w").close()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("saving", file=sys.stderr, flush=True)
        await asyncio.sleep(0.3)
        open(ended, "w").close()
        raise

def app(standalone_mode):
    finish(lambda progress: asyncio.run(work()), "RUN", [], False, True)

cli.app = app
cli.main()
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def as_from_a_terminal() -> None:
    """Whatever this test run was started from."""
    for number in CODES:
        signal.signal(number, signal.SIG_DFL)


def with_ctrl_c_ignored() -> None:
    """As a script's ``command &``."""
    as_from_a_terminal()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def started(folder: Path, prepare: object = as_from_a_terminal) -> subprocess.Popen[str]:
    os.mkfifo(folder / "ready")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder / "ready"), str(folder / "ended")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,  # type: ignore[arg-type]  # noqa: PLW1509
    )
    with (folder / "ready").open():  # blocks until the program opens it
        return process


@pytest.mark.parametrize("number", CODES)
def test_it_ends_in_order_with_a_code_of_its_own(number: signal.Signals, tmp_path: Path) -> None:
    process = started(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == CODES[number], said
    assert (tmp_path / "ended").exists()
    assert "saving" in said and "the same command goes on" in said and "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_one_does_not_cut_it_short(number: signal.Signals, tmp_path: Path) -> None:
    process = started(tmp_path)
    assert process.stderr is not None
    process.send_signal(number)
    while process.stderr.readline() != "saving\n":
        pass
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == CODES[number] and (tmp_path / "ended").exists()


def test_where_ctrl_c_is_ignored_the_others_are_not(tmp_path: Path) -> None:
    process = started(tmp_path, with_ctrl_c_ignored)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert (tmp_path / "ended").exists() and "Traceback" not in said


def test_nohup_is_respected(tmp_path: Path) -> None:
    def under_nohup() -> None:
        as_from_a_terminal()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = started(tmp_path, under_nohup)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_a_closed_terminal_keeps_nothing_from_being_saved(tmp_path: Path) -> None:
    """What is said on the way out has nowhere to go, and raises nothing."""
    os.mkfifo(tmp_path / "ready")
    child, terminal = pty.fork()
    if child == 0:
        as_from_a_terminal()
        arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "ready"), str(tmp_path / "ended")]
        os.execv(sys.executable, arguments)
    with (tmp_path / "ready").open():
        os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert (tmp_path / "ended").exists()


DESTRUCTOR = """
import signal, sys, time
from cai.cli.signals import as_ctrl_c

class Closing:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

with as_ctrl_c():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Closing()
        time.sleep(60)
    except KeyboardInterrupt:
        print("ended")
"""


def test_ctrl_c_while_an_object_is_destroyed_is_neither_lost_nor_a_traceback() -> None:
    command = [sys.executable, "-c", DESTRUCTOR]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=50, check=True, preexec_fn=as_from_a_terminal
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")
