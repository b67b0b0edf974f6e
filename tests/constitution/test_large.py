"""Constitutions as large as they may be: the work grows with their number, not with its square."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from effort import steps

from cai.constitution.load import Constitution, draw_many, dump, load_constitution
from cai.constitution.templates import Templates
from cai.values.errors import FileError, UsageError

TEMPLATES = Templates.load()
MOST = 9_990  # plain sentences in one file within its limit of keys and values


def plain(count: int) -> str:
    return "principles:\n" + "".join(f"  - Answer number {n} is kind about it.\n" for n in range(count))


def load(path: Path, text: str) -> Callable[[], object]:
    path.write_text(text)

    def work() -> None:
        try:
            load_constitution(path, TEMPLATES)
        except FileError as error:
            str(error)

    return work


FILES: dict[str, Callable[[int], str]] = {
    "plain": plain,
    "mappings": lambda n: (
        "principles:\n" + "".join(f"- {{id: p{i}, principle: Be {i}.}}\n" for i in range(n))
    ),
    "repeated": lambda n: "principles:\n" + "- Be kind.\n" * n,
    "the same id": lambda n: (
        "principles:\n" + "".join(f"- {{id: a, principle: Be {i}.}}\n" for i in range(n))
    ),
    "the same slug": lambda n: "principles:\n" + "".join(f"- A b c d e f{i}.\n" for i in range(n)),
    "numbers": lambda n: "principles:\n" + "- 5\n" * n,
    "sentences with a colon": lambda n: "principles:\n" + "".join(f"- Be k{i}: so.\n" for i in range(n)),
    "nothing of what is needed": lambda n: "principles:\n" + "- {weight: 1}\n" * n,
    "unknown keys": lambda n: "principles: [Be kind.]\n" + "".join(f"k{i}: x\n" for i in range(n)),
    "files that are not there": lambda n: "extends:\n" + "".join(f"- f{i}\n" for i in range(n)),
}


@pytest.mark.parametrize("kind", FILES)
def test_twice_the_principles_are_twice_the_work(kind: str, tmp_path: Path) -> None:
    once, twice = (steps(load(tmp_path / f"{n}.yaml", FILES[kind](n))) for n in (200, 400))
    assert twice < 2.1 * once


def test_a_file_that_is_extended_often_is_taken_over_once(tmp_path: Path) -> None:
    def lines_more(principles: int) -> int:
        """The work of a hundred further lines that name a file of so many principles."""
        (tmp_path / "base.yaml").write_text(plain(principles))
        once, often = (steps(load(tmp_path / "e.yaml", "extends:\n" + "- base.yaml\n" * n)) for n in (1, 101))
        return often - once

    assert lines_more(300) < 1.2 * lines_more(30)


def test_as_many_as_a_file_may_hold_are_loaded_drawn_and_written(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text(plain(MOST))
    made: list[Constitution] = []
    assert steps(lambda: made.append(load_constitution(tmp_path / "big.yaml", TEMPLATES))) < 500 * MOST
    (done,) = made
    assert len({principle.id for principle in done.principles}) == MOST
    assert steps(lambda: draw_many(done, 4, 1, "prompt")) < 25 * MOST
    # A run's own copy says everything in full: more than a file of people may hold, and read all the same.
    (tmp_path / "constitution.yaml").write_text(dump(done))
    with pytest.raises(FileError, match="larger than 1 MiB"):
        load_constitution(tmp_path / "constitution.yaml", TEMPLATES)
    (tmp_path / "journal.sqlite").touch()
    assert load_constitution(tmp_path / "constitution.yaml", TEMPLATES).principles == done.principles


def test_more_than_a_run_can_hold_are_refused(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text(plain(MOST))
    (tmp_path / "more.yaml").write_text(
        "extends:\n  - big.yaml\nprinciples:\n" + "".join(f"  - More {n}.\n" for n in range(11))
    )
    with pytest.raises(UsageError, match=r"more.yaml:2:3: 10,001 principles .* the limit is 10,000"):
        load_constitution(tmp_path / "more.yaml", TEMPLATES)
