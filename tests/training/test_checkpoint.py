"""What is whole is found, what is not is passed over. No torch here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from training_rows import prompt

from cai.config.train_config import DPOConfig, SFTConfig
from cai.training.checkpoint import RECORD, Workspace, spent_before, training_key
from cai.training.examples import Example
from cai.training.result import Spent


def write(folder: Path, text: str) -> Path:
    (folder / "model.safetensors").write_text(text)
    return folder


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "sft", "key")


def steps(space: Workspace, *numbers: int) -> None:
    for number in numbers:
        space.save_step(
            write(space.fresh("step"), f"weights {number}"),
            number,
            [{"loss": float(number)}],
            Spent(10 * number, 0.5),
        )


def test_the_newest_of_the_last_two_is_found(space: Workspace) -> None:
    assert space.newest() is None
    steps(space, 2, 4, 10)
    found = space.newest()
    assert found is not None and found[1]["step"] == 10 and found[1]["history"] == [{"loss": 10.0}]
    assert spent_before(found[1]) == Spent(100, 0.5) and spent_before({}) == Spent()
    assert [path.name for path in sorted(space.partial.iterdir())] == ["step-00000004", "step-00000010"]
    assert Workspace(space.out, "another key").newest() is None


@pytest.mark.parametrize("damage", ["truncate", "remove", "record", "no record"])
def test_a_damaged_checkpoint_is_passed_over(space: Workspace, damage: str) -> None:
    steps(space, 2, 4)
    newest = space.partial / "step-00000004"
    if damage == "truncate":
        write(newest, "wei")
    elif damage == "remove":
        (newest / "model.safetensors").unlink()
    elif damage == "record":
        (newest / RECORD).write_text((newest / RECORD).read_text()[:20])
    else:
        (newest / RECORD).unlink()
    found = space.newest()
    assert found is not None and found[1]["step"] == 2


def test_publishing_replaces_the_old_result_and_cleans_up(space: Workspace) -> None:
    steps(space, 2)
    space.publish(write(space.fresh("final"), "first"), {"steps": 2})
    assert space.finished() == {"steps": 2} and not space.partial.exists()
    (space.out / "note.txt").write_text("mine")  # somebody's own file does not spoil it
    assert space.finished() == {"steps": 2}
    newer = Workspace(space.out, "newer")
    assert newer.finished() is None
    newer.publish(write(newer.fresh("final"), "second"), {"steps": 3})
    assert newer.finished() == {"steps": 3} and space.finished() is None


def test_a_kill_between_the_two_renames_is_repaired(space: Workspace) -> None:
    space.publish(write(space.fresh("final"), "done"), {"steps": 2})
    space.partial.mkdir()
    space.out.rename(space.partial / "final")  # as if the last rename had not happened
    assert space.finished() == {"steps": 2} and space.out.is_dir()


def test_the_key_follows_everything_that_determines_the_weights(tmp_path: Path) -> None:
    base = write(tmp_path, "base")
    items = [Example(prompt(0), "Yes."), Example(prompt(1), "No.")]

    def key(items: list[Example] = items, seed: int = 0, **settings: object) -> str:
        return training_key("sft", str(base), items, SFTConfig.model_validate(settings), seed)

    first = key()
    assert first == key(save_steps=7, helpful_share=0.5)
    others = {
        key(seed=1), key(learning_rate=2e-5), key(lora={}), key(items[::-1]),
        key([replace(items[0], weight=0.5), items[1]]), key([replace(items[0], response="Yes"), items[1]]),
        training_key("dpo", str(base), items, DPOConfig(), 0),
        training_key("dpo", str(base), items, DPOConfig(min_margin=0.1), 0),
    }  # fmt: skip
    write(base, "other base")
    others.add(key())
    assert len(others) == 9 and first not in others
