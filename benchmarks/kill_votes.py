"""Kill ``cai annotate`` while people vote: is a vote that was acknowledged lost, or one there twice?

    python -m benchmarks.kill_votes RUN [--kills 6]

RUN is a folder with pairs; it is copied. Several people vote at once, as browsers do: a vote without an
answer is sent again, under its own id, to the next server. The server ends by SIGKILL, SIGTERM and SIGHUP in
turn after a random number of answers. ``kill_resume`` does this to its run as well.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cai.human.votes.log import standing

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
MOST = 8  # answers after which a server is killed, at most
CHOICES = ("first", "second", "tie", "both bad")


@dataclass
class Person:
    """Who votes, the vote that waits for an answer, and those that had one: id → choice."""

    name: str
    waiting: dict[str, Any] | None = None
    stored: dict[str, str] = field(default_factory=dict)

    def vote(self, client: httpx.Client, draw: random.Random) -> bool:
        """Send the vote that waits, or cast one. False when every pair has been shown."""
        if self.waiting is None:
            task = self._post(client, "next", {})["task"]
            if task is None:
                return False
            seen = {"pair": task["pair"], "showing": task["showing"]}
            self.waiting = {"uuid": str(uuid.uuid4()), "choice": draw.choice(CHOICES), **seen}
        paper = self.waiting
        self._post(client, "vote", paper)
        self.stored[paper["uuid"]] = paper["choice"]
        self.waiting = None
        return True

    def _post(self, client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = client.post(f"/api/{path}", json={"annotator": self.name, **body})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def serve(run: Path, per_pair: int) -> tuple[subprocess.Popen[str], str]:
    """A voting server in a process of its own, and its address."""
    command = [
        sys.executable,
        "-m",
        "cai",
        "annotate",
        str(run),
        "--per-pair",
        str(per_pair),
        "--repeat",
        "0",
    ]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    said = []
    for line in process.stdout or ():
        said.append(line)
        if line.startswith("Open"):
            return process, line.split()[1]
    raise SystemExit(f"cai annotate ended: {''.join(said)}")


def vote_until_killed(
    run: Path, people: Sequence[Person], by: signal.Signals | None, after: int, seed: int
) -> None:
    """Let everybody vote; ``by`` ends the server ``after`` some answers. None: until no pair is left."""
    process, address = serve(run, per_pair=len(people))
    answers = threading.Semaphore(0)

    def votes(person: Person) -> None:
        draw = random.Random(f"{seed}{person.name}")
        try:
            with httpx.Client(base_url=address.partition("/?")[0], follow_redirects=True) as client:
                client.get(address).raise_for_status()
                while person.vote(client, draw):
                    answers.release()
        except httpx.TransportError:
            pass  # the server is gone

    with ThreadPoolExecutor(len(people)) as pool:
        ended = [pool.submit(votes, person) for person in people]
        if by is not None:
            for _ in range(after):
                while not answers.acquire(timeout=0.05) and not all(one.done() for one in ended):
                    pass
            process.send_signal(by)
        for one in ended:
            one.result()
    process.kill()
    process.wait()


def kill_votes(run: Path, kills: int, seed: int = 0, people: int = 4) -> tuple[int, list[str]]:
    """Votes that were cast in a copy of ``run``, and everything that went wrong."""
    draw = random.Random(seed)
    crowd = [Person(f"person {number}") for number in range(people)]
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "run"
        shutil.copytree(run, home)
        for number in range(kills):
            vote_until_killed(home, crowd, SIGNALS[number % len(SIGNALS)], draw.randint(1, MOST), number)
        vote_until_killed(home, crowd, None, 0, kills)
        kept = [vote for vote, _ in standing(home / "votes.sqlite")]
    return len(kept), problems(crowd, [(vote.uuid, vote.annotator, vote.item, vote.choice) for vote in kept])


def problems(people: Sequence[Person], kept: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """How the votes that are kept (id, who, pair, choice) differ from those that were acknowledged."""
    said = {name: (person.name, choice) for person in people for name, choice in person.stored.items()}
    found = {name: (who, choice) for name, who, _, choice in kept}
    twice = [pair for pair, count in Counter((who, pair) for _, who, pair, _ in kept).items() if count > 1]
    lost = [name for name in said if name not in found]
    others = [name for name in found if found[name] != said.get(name)]
    return [
        *([f"{len(lost)} acknowledged votes are gone"] if lost else []),
        *([f"{len(others)} votes are not what was sent"] if others else []),
        *([f"{len(twice)} people have two votes on a pair"] if twice or len(found) < len(kept) else []),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--kills", type=int, default=6)
    asked = parser.parse_args()
    cast, wrong = kill_votes(asked.run, asked.kills)
    print(f"{cast} votes over {asked.kills} kills: {'; '.join(wrong) or 'none lost, none twice'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
