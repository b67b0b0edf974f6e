"""What is whole is found, what is not is passed over. No torch here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from training_rows import prompt

from cai.config.train_config import DPOConfig, SFTConfig
from cai.engines.model_files import content_hash
from cai.run.sealed import RECORD, seal
from cai.training.checkpoint import Workspace, model_fingerprint, training_key
from cai.training.examples import Example
from cai.training.result import Spent, TrainResult
from cai.values.errors import CaiError, TrainingError


def write(folder: Path, text: str) -> Path:
    (folder / "model.safetensors").write_text(text)
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def space(tmp_path: Path, said: list[str]) -> Workspace:
    return Workspace(tmp_path / "sft", "key", said.append)


def result(steps: int) -> TrainResult:
    return TrainResult(Path("sft"), steps, 8, 80, 0.5, ({"loss": 1.0},) * steps)


def steps_of(space: Workspace) -> int | None:
    """Of the finished training; None where there is none."""
    found = space.finished()
    return None if found is None else found.steps


def publish(space: Workspace, text: str, steps: int) -> None:
    space.publish(write(space.fresh("final"), text), result(steps).to_json())


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
    assert found is not None and found.step == 10 and found.history == ({"loss": 10.0},)
    assert found.spent == Spent(100, 0.5)
    older = space.newest(at_most=9)
    assert older is not None and older.step == 4
    assert [path.name for path in sorted(space.partial.iterdir())] == ["step-00000004", "step-00000010"]
    assert Workspace(space.out, "another key").newest() is None


def _junk(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def _edited(file: Path) -> None:
    """Of equal size, and JSON still."""
    text = file.read_text()
    assert '"step": 4' in text or '"steps": 4' in text
    file.write_text(text.replace('"step": 4', '"step": 9').replace('"steps": 4', '"steps": 9'))


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "truncated": ("model.safetensors", lambda file: file.write_bytes(file.read_bytes()[:3])),
    "removed": ("model.safetensors", Path.unlink),
    "empty": ("model.safetensors", lambda file: file.write_bytes(b"")),
    "junk of equal size": ("model.safetensors", _junk),
    "record truncated": (RECORD, lambda file: file.write_bytes(file.read_bytes()[:20])),
    "record junk": (RECORD, _junk),
    "record empty": (RECORD, lambda file: file.write_bytes(b"")),
    "record a list": (RECORD, lambda file: file.write_text("[]")),
    "record edited": (RECORD, _edited),
}
each_damage = pytest.mark.parametrize("damage", DAMAGE)


@each_damage
def test_a_damaged_checkpoint_is_passed_over_and_said(space: Workspace, said: list[str], damage: str) -> None:
    steps(space, 2, 4)
    name, harm = DAMAGE[damage]
    newest = space.partial / "step-00000004"
    harm(newest / name)
    found = space.newest()
    assert found is not None and found.step == 2
    assert len(said) == 1 and str(newest) in said[0] and name in said[0]
    steps(space, 3)  # and no longer counts among those that are kept
    assert [path.name for path in sorted(space.partial.iterdir())] == ["step-00000002", "step-00000003"]


def test_a_checkpoint_without_its_record_was_being_deleted(space: Workspace, said: list[str]) -> None:
    steps(space, 2, 4)
    (space.partial / "step-00000004" / RECORD).unlink()
    found = space.newest()
    assert found is not None and found.step == 2 and said == []


@each_damage
def test_a_damaged_result_is_no_result(space: Workspace, said: list[str], damage: str) -> None:
    publish(space, "weights", 4)
    name, harm = DAMAGE[damage]
    harm(space.out / name)
    assert steps_of(space) is None
    assert len(said) == 1 and str(space.out) in said[0] and name in said[0] and "made again" in said[0]
    publish(space, "weights", 4)
    assert steps_of(space) == 4 and len(said) == 1


@pytest.mark.parametrize("held", [None, [], {}, {"steps": 2}, {**result(2).to_json(), "history": [3]}])
def test_a_record_without_a_result_is_no_result(space: Workspace, said: list[str], held: object) -> None:
    folder = write(space.fresh("final"), "weights")
    seal(folder, {"key": "key", "result": held} if held is not None else {"key": "key"})
    folder.rename(space.out)
    assert steps_of(space) is None
    assert len(said) == 1 and "holds no result" in said[0]


def test_a_result_without_a_record_is_made_again(space: Workspace, said: list[str]) -> None:
    publish(space, "weights", 4)
    (space.out / RECORD).unlink()
    assert steps_of(space) is None and len(said) == 1 and "is missing" in said[0]


def test_what_an_earlier_cai_finished_is_taken_by_its_sizes(space: Workspace) -> None:
    publish(space, "weights", 4)
    record = json.loads((space.out / RECORD).read_text())
    del record["sha256"], record["seal"]
    (space.out / RECORD).write_text(json.dumps(record))
    assert steps_of(space) == 4
    write(space.out, "weight")
    assert steps_of(space) is None


@pytest.mark.parametrize("own", [2, 150, 300])
def test_another_trainings_checkpoints_never_push_out_ones_own(
    space: Workspace, said: list[str], own: int
) -> None:
    """Whatever their numbers; and until this training has one of its own, they stay."""
    other = Workspace(space.out, "other", said.append)
    steps(other, 100, 200)
    other.keep(write(other.fresh("reference"), "theirs"), "reference")
    assert space.newest() is None and space.kept("reference") is None and other.newest() is not None
    steps(space, own)
    found = space.newest()
    assert found is not None and found.step == own
    assert [path.name for path in space.partial.iterdir()] == [f"step-{own:08d}"]
    assert len(said) == 1 and "other inputs" in said[0]


@pytest.mark.parametrize("damage", ["truncated", "empty", "junk of equal size", "removed"])
def test_what_was_put_away_is_made_again_where_it_is_damaged(
    space: Workspace, said: list[str], damage: str
) -> None:
    folder = space.keep(write(space.fresh("reference"), "numbers"), "reference")
    assert space.kept("reference") == folder
    assert Workspace(space.out, "another key").kept("reference") is None
    DAMAGE[damage][1](folder / "model.safetensors")
    assert space.kept("reference") is None and len(said) == 1
    space.keep(write(space.fresh("reference"), "numbers"), "reference")
    assert space.kept("reference") == folder


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_may_be_read_by_whom_the_umask_allows(space: Workspace, umask: int, mode: int) -> None:
    """safetensors writes for the owner alone."""
    before = os.umask(umask)
    try:
        folder = write(space.fresh("final"), "weights")
        (folder / "adapter").mkdir()
        for file in (folder / "model.safetensors", write(folder / "adapter", "a") / "model.safetensors"):
            file.chmod(0o600)
        space.publish(folder, result(2).to_json())
    finally:
        os.umask(before)
    files = [path for path in space.out.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {mode}


def test_a_damaged_checkpoint_is_neither_trained_from_nor_asked(tmp_path: Path, space: Workspace) -> None:
    publish(space, "weights", 2)
    assert model_fingerprint(str(space.out))
    _junk(space.out / "model.safetensors")
    for identity in (lambda: model_fingerprint(str(space.out)), lambda: content_hash(space.out)):
        with pytest.raises(CaiError, match=r"is damaged: model.safetensors .* delete training.json"):
            identity()
    (space.out / RECORD).unlink()  # the user's word that the files are as wanted
    assert model_fingerprint(str(space.out))


def test_publishing_replaces_the_old_result_and_cleans_up(space: Workspace) -> None:
    steps(space, 2)
    publish(space, "first", 2)
    assert steps_of(space) == 2 and not space.partial.exists()
    (space.out / "note.txt").write_text("mine")  # somebody's own file does not spoil it
    assert steps_of(space) == 2
    newer = Workspace(space.out, "newer")
    assert steps_of(newer) is None
    publish(newer, "second", 3)
    assert steps_of(newer) == 3 and steps_of(space) is None


def test_a_kill_between_the_two_renames_is_repaired(space: Workspace) -> None:
    publish(space, "done", 2)
    space.partial.mkdir()
    space.out.rename(space.partial / "final")  # as if the last rename had not happened
    assert steps_of(space) == 2 and space.out.is_dir()


def test_the_key_follows_everything_that_determines_the_weights(tmp_path: Path) -> None:
    base = write(tmp_path, "base")
    items = [Example(prompt(0), "Yes."), Example(prompt(1), "No.")]

    def key(items: list[Example] = items, seed: int = 0, **settings: object) -> str:
        return training_key("sft", str(base), items, SFTConfig.model_validate(settings), seed)

    first = key()
    assert first == key(save_steps=7, save_minutes=0.5, helpful_share=0.5)
    others = {
        key(seed=1), key(learning_rate=2e-5), key(lora={}), key(items[::-1]),
        key([replace(items[0], weight=0.5), items[1]]), key([replace(items[0], response="Yes"), items[1]]),
        training_key("dpo", str(base), items, DPOConfig(), 0),
        training_key("dpo", str(base), items, DPOConfig(min_margin=0.1), 0),
    }  # fmt: skip
    write(base, "other base")
    others.add(key())
    assert len(others) == 9 and first not in others


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the model .*/sft cannot be had"):
        model_fingerprint(str(tmp_path / "sft"))
