"""The voting page killed while people vote: every acknowledged vote is there afterwards, and once."""

from __future__ import annotations

from pathlib import Path

from voting_run import make_run, pair

from benchmarks.kill_votes import Person, kill_votes, problems


def test_no_vote_is_lost_or_doubled_by_a_kill(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(6)])
    assert kill_votes(run, kills=2, people=2) == (12, [])


def test_lost_other_and_doubled_votes_are_found() -> None:
    people = [Person("rosa", None, {"1": "first", "2": "tie"})]
    kept = [("1", "rosa", "x", "first"), ("2", "rosa", "y", "tie")]
    assert problems(people, kept) == []
    assert problems(people, kept[:1]) == ["1 acknowledged votes are gone"]
    assert problems(people, [kept[0], ("2", "rosa", "y", "second")]) == ["1 votes are not what was sent"]
    assert problems(people, [kept[0], ("2", "rosa", "x", "tie")]) == ["1 people have two votes on a pair"]
