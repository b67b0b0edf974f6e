"""A run folder made by hand, without a model, and a voting server of it in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cai.constitution.load import dump, load_constitution
from cai.data import tables
from cai.run.folder import RunFolder
from cai.values.types import Comparison, Message, Prompt

SEED = 3


def pair(number: int, a: str | None = None, b: str | None = None, ask: str | None = None) -> Comparison:
    question = ask or f"How do I mend kettle {number}?"
    prompt = Prompt(f"p-{number}", (Message("user", question),), ("kettles",))
    return Comparison(f"c-{number}", prompt, a or f"Left {number}.", b or f"Right {number}.")


def make_run(folder: Path, comparisons: Sequence[Comparison]) -> Path:
    """A run folder with pairs and the constitution ``harmless``."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"seed: {SEED}\n")
    (folder / "constitution.yaml").write_text(dump(load_constitution("harmless")))
    RunFolder(folder).write_table("comparisons", map(tables.comparison_row, comparisons))
    return folder


@dataclass(frozen=True)
class Served:
    """A server of a run: its process, the lines that it printed at its start, and its address."""

    process: subprocess.Popen[str]
    lines: tuple[str, ...]
    address: str

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.address)[1])  # type: ignore[index]

    @property
    def token(self) -> str:
        return self.address.partition("token=")[2]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> str:
        """Ctrl-C; what the server says last."""
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=120)
        return out


def start(run: Path, *options: str) -> Served:
    command = [sys.executable, "-m", "cai", "annotate", str(run), *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    lines: list[str] = []
    while not (lines and lines[-1].startswith("Ctrl-C")):
        line = process.stdout.readline()  # type: ignore[union-attr]
        assert line, f"ended: {lines}"
        lines.append(line.rstrip("\n"))
    address = next(line.split()[1] for line in lines if line.startswith("Open"))
    return Served(process, tuple(lines), address)


@contextmanager
def serving(run: Path, *options: str) -> Iterator[Served]:
    served = start(run, *options)
    try:
        yield served
    finally:
        served.kill()
