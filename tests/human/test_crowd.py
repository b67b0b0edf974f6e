"""Two hundred people at one voting page: nobody gets an error, no vote is lost, none counts twice."""

from __future__ import annotations

import asyncio
import resource
import uuid
from collections import Counter
from pathlib import Path

import pytest
from crowd import Crowd, vote_at_once
from effort import steps
from voting_run import make_run, pair, serving

from cai.human.votes import server
from cai.human.votes.desk import Desk, Paper
from cai.human.votes.log import VoteLog, standing
from cai.human.votes.poll import Options, load_poll

PEOPLE, EACH = 200, 3


def test_two_hundred_people_vote_at_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(PEOPLE)])
    with serving(run, "--per-pair", "5") as served:
        crowd = Crowd(served.port, served.token)
        asyncio.run(vote_at_once(crowd, PEOPLE, EACH))
        said = served.interrupt()
    assert crowd.errors == []
    assert crowd.answers == {
        303: PEOPLE,
        200: PEOPLE * (3 + EACH + 1),
    }  # pages, votes, one of them sent twice
    cast = [vote for vote, _ in standing(run / "votes.sqlite")]
    assert {vote.uuid: (vote.annotator, vote.choice) for vote in cast} == crowd.cast
    assert len(cast) == len(crowd.cast) == PEOPLE * EACH
    assert set(Counter((vote.annotator, vote.item) for vote in cast).values()) == {1}
    assert max(Counter(vote.item for vote in cast).values()) <= 5
    assert f"{PEOPLE * EACH} votes of {PEOPLE} annotators stored" in said


def test_what_one_sees_next_does_not_cost_a_look_at_everybodys_votes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(20)])
    options = Options(per_pair=1000, repeat=0.0)
    desk = Desk(load_poll(run, options), options, VoteLog(run / "votes.sqlite"))

    def vote(name: str) -> None:
        shown = desk.view(name).shown
        assert shown is not None
        assert desk.vote(Paper(str(uuid.uuid4()), name, shown.key, shown.ticket, "tie")) == "stored"

    costs = []
    for hundred in range(2):
        for number in range(99):
            vote(f"person {hundred} {number}")
        costs.append(steps(lambda: vote("the next person")))
    assert costs[1] < 1.1 * costs[0]


def test_two_thousand_open_connections_are_no_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    for limits in [(256, resource.RLIM_INFINITY), (1024, 4096), (1024, 1024), (20_000, 20_000)]:
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        server.allow_files()
    assert asked == [(8192, resource.RLIM_INFINITY), (4096, 4096)]
