"""Rollouts on disk: whose they are, whether they are whole, and what is done where they are not. No model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cai.training.checkpoint import Workspace
from cai.training.result import TrainResult
from cai.training.rl.rollouts import Place, Rollout, load, recorded, save, steps_on_disk
from cai.values.errors import CaiError

ONE = Rollout(0, "p0", (3, 4), (-0.1, -1.0 / 3.0), "stop", "Yes — \U0001f600", 0.5, 0.25)
TWO = replace(ONE, prompt_id="p1", reward=None, score=None, reason="unreadable")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def space(tmp_path: Path, said: list[str]) -> Workspace:
    return Workspace(tmp_path / "policy", "a" * 64, said.append)


def file_of(space: Workspace, step: int, rank: int = 0) -> Path:
    return space.mine("rollouts") / f"{step:08d}.{rank}.jsonl"


def test_they_come_back_bit_by_bit_to_their_own_training(space: Workspace, said: list[str]) -> None:
    place = Place(0, 0, 1)
    assert load(space, place) is None
    save(space, place, [ONE, TWO])
    assert load(space, place) == [ONE, TWO]
    for other in (Place(1, 0, 1), Place(0, 1, 2), Place(0, 0, 2)):  # two processes draw half of it each
        assert load(space, other) is None
    assert load(Workspace(space.out, "b" * 64, said.append), place) is None
    assert said == []


def test_a_file_of_another_training_is_not_taken_wherever_it_lies(space: Workspace, said: list[str]) -> None:
    other = Workspace(space.out, "a" * 16 + "b" * 48, said.append)  # the same folder
    save(other, Place(0, 0, 1), [ONE])
    assert load(space, Place(0, 0, 1)) is None
    assert len(said) == 1 and "another training's" in said[0]


def _replaced(text: str, by: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(file.read_text().replace(text, by))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-10]),
    "a row short": lambda file: file.write_text("".join(file.read_text().splitlines(True)[:-1])),
    "empty": lambda file: file.write_bytes(b""),
    "junk of equal size": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "another reward": _replaced('"reward": 0.5', '"reward": 9.5'),
    "no header": lambda file: file.write_text("".join(file.read_text().splitlines(True)[1:])),
    "not text": lambda file: file.write_bytes(b"\xff" + file.read_bytes()[1:]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_not_there_and_said(space: Workspace, said: list[str], damage: str) -> None:
    for step in range(3):
        save(space, Place(step, 0, 1), [ONE, TWO])
    assert steps_on_disk(space) == 3 and said == []
    for look in (lambda: load(space, Place(1, 0, 1)) is None, lambda: steps_on_disk(space) == 1):
        DAMAGE[damage](file_of(space, 1))
        said.clear()
        assert look() and look()
        assert len(said) == 1 and str(file_of(space, 1)) in said[0]
        save(space, Place(1, 0, 1), [ONE, TWO])
    save(space, Place(1, 0, 1), [ONE, TWO])
    assert load(space, Place(1, 0, 1)) == [ONE, TWO] and steps_on_disk(space) == 3


def test_a_step_needs_all_processes(space: Workspace) -> None:
    save(space, Place(0, 0, 2), [ONE])
    assert steps_on_disk(space) == 0
    save(space, Place(0, 1, 2), [TWO])
    assert steps_on_disk(space) == 1


def publish(space: Workspace, steps: int) -> Path:
    folder = space.fresh("final")
    space.mine("rollouts").rename(folder / "rollouts")
    history = ({"kl": 0.5},) * steps
    space.publish(folder, TrainResult(space.out, steps, steps, 0, 0.0, history).to_json())
    return space.out


def test_the_record_has_every_step_of_whichever_number_of_processes(space: Workspace) -> None:
    """Two processes, then one that went on from before the second step: half of a step is not twice there."""
    for step, rank in ((0, 0), (0, 1), (1, 0), (1, 1)):
        save(space, Place(step, rank, 2), [ONE])
    save(space, Place(1, 0, 1), [TWO, TWO, TWO])
    assert recorded(publish(space, 2)) == [([ONE, ONE], 0.5), ([TWO, TWO, TWO], 0.5)]


def test_the_record_of_an_earlier_cai_is_read(space: Workspace) -> None:
    save(space, Place(0, 0, 1), [ONE, TWO])
    DAMAGE["no header"](file_of(space, 0))
    assert recorded(publish(space, 1)) == [([ONE, TWO], 0.5)]


def test_a_record_that_cannot_be_read_says_so(space: Workspace) -> None:
    save(space, Place(0, 0, 1), [ONE])
    out = publish(space, 1)
    file = out / "rollouts" / "00000000.0.jsonl"
    DAMAGE["truncated"](file)
    with pytest.raises(CaiError, match="its rollouts cannot be read"):
        recorded(out)
    (out / "training.json").write_text(json.dumps({"result": {}}))
    with pytest.raises(CaiError, match="its rollouts cannot be read"):
        recorded(out)
