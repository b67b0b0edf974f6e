"""Kill a pocket run with SIGKILL again and again; is anything lost, doubled or different?

    python -m benchmarks.kill_resume [--kills 20] [--limit 24] [--out runs/kill]

One run goes through undisturbed. A second one is killed at random moments, every stage in turn, and
started again each time. Then the data files, the checkpoints' weights and the metrics of the two must be
the same bytes, no answer in the journal may have changed, and no more requests may have been asked twice
than were in flight at the kills. Runs the transformers engine in float32.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sqlite3
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from cai.pipeline.order import STEPS

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


def start(plan: Plan, log: Path) -> BaseProcess:
    process = CONTEXT.Process(target=_work, args=(plan.arguments, str(log)))
    process.start()
    return process


def _work(arguments: list[str], log: str) -> None:
    """In the child: ``cai`` with its output in a file."""
    import os

    from cai.cli.app import main

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["cai", *arguments]
    main()


def finish(plan: Plan, log: Path) -> None:
    process = start(plan, log)
    process.join()
    if process.exitcode not in (0, 3):
        raise SystemExit(f"the run ended with {process.exitcode}:\n{log.read_text()[-2000:]}")


def kill_during(plan: Plan, log: Path, stage: str, delay: float) -> bool:
    """Start, wait until ``stage`` has begun, then ``delay`` more seconds, then SIGKILL.

    False when the run had finished first.
    """
    process = start(plan, log)
    marker = f"] {stage}\n"
    while process.is_alive() and not (log.exists() and marker in log.read_text()):
        time.sleep(0.005)
    process.join(delay)
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


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


def compare(out: Path, kills: int, limit: int, seed: int = 0) -> list[str]:
    """Everything that went wrong; empty when all is well."""
    draw = random.Random(seed)
    out.mkdir(parents=True, exist_ok=True)
    calm, killed = Plan(out / "calm", limit), Plan(out / "killed", limit)
    started = time.monotonic()
    finish(calm, out / "calm.log")
    mean_stage = (time.monotonic() - started) / len(STEPS)
    problems: list[str] = []
    order = list(STEPS)
    hit: list[str] = []
    # Stages in their own order, some several times: a killed run must get further each time.
    for stage in sorted((order[i % len(order)] for i in range(kills)), key=order.index):
        before = journal_rows(killed.folder)
        if kill_during(killed, out / "killed.log", stage, draw.uniform(0, mean_stage)):
            hit.append(stage)
        after = journal_rows(killed.folder)
        changed = [key for key, row in before.items() if after.get(key) != row]
        if changed:
            problems.append(f"{len(changed)} journaled answers changed after a kill in {stage}")
    finish(killed, out / "killed.log")
    print(f"{len(hit)} of {kills} kills hit a living run, in: {', '.join(dict.fromkeys(hit))}")
    expected, found = digests(calm.folder), digests(killed.folder)
    problems += [f"{name} differs" for name in sorted(expected.keys() | found.keys())
                 if expected.get(name) != found.get(name)]  # fmt: skip
    if journal_rows(calm.folder).keys() != journal_rows(killed.folder).keys():
        problems.append("the journals hold answers to different requests")
    return problems


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
