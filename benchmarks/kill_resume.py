"""Kill a pocket run, and the commands behind it, again and again; is anything lost, doubled or different?

    python -m benchmarks.kill_resume [--kills 20] [--limit 24] [--out runs/kill]

One run goes through undisturbed. A second one is killed at random moments, every step in turn, by SIGKILL,
SIGTERM and SIGHUP in turn, and started again each time. So are import, mix, eval and others over the finished
run, and the voting page while people vote (``kill_votes``). Then the data files, the checkpoints' weights and
the metrics of the two must be the same bytes, and no answer in the journal may have changed. Runs the
transformers engine in float32.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.kill_votes import SIGNALS, kill_votes
from cai.pipeline.order import STEPS

VOTING_KILLS = 6
CONTEXT = get_context("forkserver")
# Heavy imports happen once, in the fork server, so that each restart costs what a restart itself costs.
CONTEXT.set_forkserver_preload(["torch", "transformers", "trl", "datasets", "cai.cli.app"])


@dataclass(frozen=True)
class Plan:
    """What is run: small enough that twenty restarts take minutes."""

    folder: Path
    limit: int

    @property
    def arguments(self) -> list[str]:
        settings = {
            "model.dtype": "float32",
            "sft.dtype": "float32",
            "dpo.dtype": "float32",
            "sft.save_steps": 2,
            "dpo.save_steps": 2,
            "sft.batch_size": 8,
            "dpo.batch_size": 4,
            "sft.helpful_share": 0,
            "evaluate.limit": self.limit,
        }
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        return ["run", "--constitution", "harmless", "--engine", "transformers", "--limit", str(self.limit),
                "--run", str(self.folder), *sets]  # fmt: skip

    def further(self, votes: Path) -> list[list[str]]:
        """The commands over the finished run."""
        run = str(self.folder)
        return [
            ["import", str(votes), "--to", run],
            ["mix", run],
            ["train", "dpo", run],
            ["evaluate", run],
            ["eval", run, "--suite", "winrate", "--suite", "questions", "--limit", "8"],
            ["monitor", run],
            ["report", run],
        ]


def start(arguments: Sequence[str], log: Path) -> BaseProcess:
    process = CONTEXT.Process(target=_work, args=(list(arguments), str(log)))
    process.start()
    return process


def _work(arguments: list[str], log: str) -> None:
    """In the child: ``cai`` with its output in a file."""
    from cai.cli.app import main

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["cai", *arguments]
    main()


def finish(arguments: Sequence[str], log: Path) -> float:
    """Let a command end by itself. → seconds."""
    started = time.monotonic()
    process = start(arguments, log)
    process.join()
    if process.exitcode not in (0, 3):
        raise SystemExit(f"{arguments[0]} ended with {process.exitcode}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - started


def kill_during(
    arguments: Sequence[str], log: Path, step: str | None, delay: float, with_signal: signal.Signals
) -> bool:
    """Start, wait until ``step`` has begun (None: at once), then ``delay`` more seconds, then the signal.

    False when the command had finished first.
    """
    process = start(arguments, log)
    marker = f"] {step}\n" if step is not None else ""
    while process.is_alive() and not (log.exists() and marker in log.read_text()):
        time.sleep(0.005)
    process.join(delay)
    alive = process.is_alive()
    if alive and process.pid is not None:
        os.kill(process.pid, with_signal)
    process.join()
    return alive


def write_votes(run: Path, file: Path) -> None:
    """A person's votes on some of the run's pairs, as rows that ``cai import`` reads."""
    import pyarrow.parquet as pq

    rows = pq.read_table(run / "data" / "preferences.parquet").to_pylist()[::2]
    votes = [
        {"prompt": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"], "annotator": "one"}
        for row in rows
        if row["chosen"] and row["rejected"]
    ]
    file.write_text("".join(json.dumps(vote) + "\n" for vote in votes))


def journal_rows(folder: Path) -> dict[str, str]:
    path = folder / "journal.sqlite"
    if not path.exists():
        return {}
    with sqlite3.connect(path) as database:
        return dict(database.execute("SELECT key, answer || created FROM answers"))


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that must not differ: data, weights, metrics."""
    files = [
        *folder.glob("data/*.parquet"),
        *folder.glob("checkpoints/*/*.safetensors"),
        folder / "metrics.json",
    ]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


def compare(out: Path, kills: int, limit: int, seed: int = 0, further: bool = True) -> list[str]:
    """Everything that went wrong; empty when all is well. ``further``: kill the commands behind it too."""
    draw = random.Random(seed)
    out.mkdir(parents=True, exist_ok=True)
    calm, killed = Plan(out / "calm", limit), Plan(out / "killed", limit)
    mean_step = finish(calm.arguments, out / "calm.log") / len(STEPS)
    problems: list[str] = []
    order = list(STEPS)
    hit: list[str] = []
    # Steps in their own order, some several times: a killed run must get further each time.
    for number, step in enumerate(sorted((order[i % len(order)] for i in range(kills)), key=order.index)):
        before = journal_rows(killed.folder)
        delay, by = draw.uniform(0, mean_step), SIGNALS[number % len(SIGNALS)]
        if kill_during(killed.arguments, out / "killed.log", step, delay, by):
            hit.append(step)
        after = journal_rows(killed.folder)
        changed = [key for key, row in before.items() if after.get(key) != row]
        if changed:
            problems.append(f"{len(changed)} journaled answers changed after a kill in {step}")
    finish(killed.arguments, out / "killed.log")
    if further:
        hit += _kill_further(calm, killed, out, draw)
        cast, wrong = kill_votes(killed.folder, VOTING_KILLS, seed)
        print(f"{cast} votes over {VOTING_KILLS} kills of the voting page: {len(wrong)} problems")
        problems += wrong
    print(f"{len(hit)} kills hit a living run, in: {', '.join(dict.fromkeys(hit))}")
    expected, found = digests(calm.folder), digests(killed.folder)
    problems += [f"{name} differs" for name in sorted(expected.keys() | found.keys())
                 if expected.get(name) != found.get(name)]  # fmt: skip
    if journal_rows(calm.folder).keys() != journal_rows(killed.folder).keys():
        problems.append("the journals hold answers to different requests")
    return problems


def _kill_further(calm: Plan, killed: Plan, out: Path, draw: random.Random) -> list[str]:
    """Every command over the finished run: undisturbed there, killed once and run again here. → those hit."""
    votes, log, hit = out / "votes.jsonl", out / "killed.log", []
    write_votes(calm.folder, votes)
    pairs = zip(calm.further(votes), killed.further(votes), strict=True)
    for number, (own, others) in enumerate(pairs):
        seconds = finish(own, out / "calm.log")
        by = SIGNALS[number % len(SIGNALS)]
        if kill_during(others, log, None, draw.uniform(0, seconds), by):
            hit.append(f"cai {own[0]}")
        finish(others, log)
    return hit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("runs/kill"))
    options = parser.parse_args()
    problems = compare(options.out, options.kills, options.limit)
    print("\n".join(problems) or "the killed run and the calm run are the same, byte for byte")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
