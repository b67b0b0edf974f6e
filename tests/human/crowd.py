"""Many people at one voting page: each a browser's worth of HTTP over connections of their own.

    python tests/human/crowd.py [PEOPLE] [VOTES_EACH]

prints how many votes were cast, stored, lost and doubled, and how long an answer took; ``test_crowd.py``
asserts it. Connections are plain sockets of asyncio: a client library's pool would hide the server's limits.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voting_run import make_run, pair, serving

from cai.human.votes.log import standing


@dataclass
class Crowd:
    """What the people did and were told. ``answers`` counts HTTP statuses; ``seconds`` to each answer."""

    port: int
    token: str
    answers: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    cast: dict[str, tuple[str, str]] = field(default_factory=dict)  # id of a vote → (who, choice)
    seconds: list[float] = field(default_factory=list)


class Connection:
    """One keep-alive connection of a person; opened again for what is sent after the server closed it."""

    def __init__(self, crowd: Crowd):
        self.crowd = crowd
        self.cookie = ""

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.crowd.port)

    async def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of the answer; empty for a page."""
        content = b"" if body is None else json.dumps(body).encode()
        host = f"127.0.0.1:{self.crowd.port}"
        kind = "content-type: application/json\r\n" if body is not None else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncookie: {self.cookie}\r\n{kind}"
        began = time.perf_counter()
        self.writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        await self.writer.drain()
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(lines[0].split()[1])
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        data = await self.reader.readexactly(int(headers.get("content-length", "0")))
        self.crowd.seconds.append(time.perf_counter() - began)
        self.crowd.answers[status] += 1
        if status >= 400:
            self.crowd.errors.append(f"{status} {data[:200]!r}")
        if "set-cookie" in headers:
            self.cookie = headers["set-cookie"].partition(";")[0]
        return json.loads(data) if headers.get("content-type") == "application/json" else {}

    def close(self) -> None:
        self.writer.close()


async def person(crowd: Crowd, name: str, votes: int, start: asyncio.Event) -> None:
    """Opens the address, then votes; every third vote is sent twice at once, as after an answer was lost."""
    choose = random.Random(name)
    first, second = Connection(crowd), Connection(crowd)
    await start.wait()
    try:
        await first.open()
        await first.send("GET", f"/?token={crowd.token}")
        await second.open()
        second.cookie = first.cookie
        await asyncio.gather(first.send("GET", "/"), second.send("GET", "/api/run"))
        state = await first.send("POST", "/api/next", {"annotator": name})
        for number in range(votes):
            if (task := state["task"]) is None:
                crowd.errors.append(f"{name}: nothing to vote on after {number}")
                return
            choice = choose.choice(["first", "second", "tie", "both bad"])
            paper = {
                "uuid": str(uuid.UUID(int=choose.getrandbits(128))),
                "annotator": name,
                "choice": choice,
                "pair": task["pair"],
                "showing": task["showing"],
            }
            crowd.cast[paper["uuid"]] = (name, choice)
            sends = [first.send("POST", "/api/vote", paper)]
            if number % 3 == 0:
                sends.append(second.send("POST", "/api/vote", paper))
            state, *again = await asyncio.gather(*sends)
            if any(answer["status"] != "stored" for answer in (state, *again)):
                crowd.errors.append(f"{name}: {state['status']}")
    except (OSError, asyncio.IncompleteReadError, KeyError) as error:
        crowd.errors.append(f"{name}: {error!r}")
    finally:
        for connection in (first, second):
            if hasattr(connection, "writer"):
                connection.close()


async def vote_at_once(crowd: Crowd, people: int, votes: int) -> None:
    start = asyncio.Event()
    waiting = [asyncio.ensure_future(person(crowd, f"person {n}", votes, start)) for n in range(people)]
    start.set()
    await asyncio.gather(*waiting)


def main(people: int = 200, votes: int = 10) -> None:
    with tempfile.TemporaryDirectory() as home:
        run = make_run(Path(home) / "run", [pair(number) for number in range(people * votes // 4)])
        with serving(run, "--per-pair", "5") as served:
            crowd = Crowd(served.port, served.token)
            began = time.perf_counter()
            asyncio.run(vote_at_once(crowd, people, votes))
            took = time.perf_counter() - began
        stored = Counter(vote.uuid for vote, _ in standing(run / "votes.sqlite"))
    seconds = sorted(crowd.seconds)
    print(f"{people} people, {len(crowd.cast):,} votes cast in {took:.1f} s: {len(stored):,} stored")
    print(f"lost {len(crowd.cast.keys() - stored.keys())}, doubled {sum(n > 1 for n in stored.values())}")
    print(f"answers {dict(crowd.answers)}, errors {len(crowd.errors)} {crowd.errors[:3]}")
    print(f"seconds to an answer: median {seconds[len(seconds) // 2]:.3f}, slowest {seconds[-1]:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
