"""What is inherited at other weights, and what is left out: every combination, every slip."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from cai.constitution.load import constitution_schema, dump, load_constitution, trace
from cai.constitution.templates import Templates
from cai.values.errors import FileError

TEMPLATES = Templates.load()
BASE = """
principles:
  - {id: kind, principle: Be kind., weight: 2}
  - {id: fair, principle: Be fair.}
  - {id: calm, principle: Be calm., weight: 0.5}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "other.yaml").write_text("principles: [{id: brief, principle: Be brief., weight: 3}]\n")
    return tmp_path


def weights(folder: Path, text: str) -> dict[str, float]:
    (folder / "mine.yaml").write_text(text)
    return {p.id: p.weight for p in load_constitution(folder / "mine.yaml", TEMPLATES).principles}


def fault(folder: Path, text: str) -> str:
    with pytest.raises(FileError) as caught:
        weights(folder, text)
    return str(caught.value).removeprefix(f"{folder}/")


def test_a_factor_on_a_parent_is_on_all_that_comes_from_it_and_on_nothing_else(folder: Path) -> None:
    text = "extends: [base, other]\nweights: {base: 0.5}\nprinciples: [{id: own, principle: Be clear.}]\n"
    assert weights(folder, text) == {"kind": 1.0, "fair": 0.5, "calm": 0.25, "brief": 3.0, "own": 1.0}


def test_a_factor_on_an_id_multiplies_too_and_with_that_of_its_parent(folder: Path) -> None:
    assert weights(folder, "extends: base\nweights: {kind: 3}\n") == {"kind": 6.0, "fair": 1.0, "calm": 0.5}
    both = weights(folder, "extends: base\nweights: {kind: 4, base: 0.5}\n")
    assert both == {"kind": 4.0, "fair": 0.5, "calm": 0.25}


def test_factors_multiply_from_file_to_file(folder: Path) -> None:
    (folder / "middle.yaml").write_text("extends: base\nweights: {base: 0.5}\ndrop: fair\n")
    assert weights(folder, "extends: middle\nweights: {middle: 0.5, calm: 8}\n") == {"kind": 0.5, "calm": 1.0}


def test_what_is_dropped_is_gone_and_its_id_is_free(folder: Path) -> None:
    assert weights(folder, "extends: base\ndrop: [fair, calm]\n") == {"kind": 2.0}
    own = "extends: base\ndrop: fair\nprinciples: [{id: fair, principle: Be fair to all., weight: 7}]\n"
    assert weights(folder, own) == {"kind": 2.0, "calm": 0.5, "fair": 7.0}
    # So a clash between two parents can be settled.
    (folder / "other.yaml").write_text("principles: [{id: kind, principle: Be kind to guests.}]\n")
    assert "already used" in fault(folder, "extends: [base, other]\n")
    assert set(weights(folder, "extends: [base, other]\ndrop: kind\n")) == {"fair", "calm"}


def test_the_fingerprint_sees_the_resolved_list_alone(folder: Path) -> None:
    def fingerprint(text: str) -> str:
        weights(folder, text)
        return load_constitution(folder / "mine.yaml", TEMPLATES).fingerprint

    plain = fingerprint("extends: base\n")
    assert plain == load_constitution(folder / "base.yaml", TEMPLATES).fingerprint
    assert fingerprint("extends: base\nweights: {base: 1, kind: 1}\n") == plain
    assert fingerprint("extends: base\nweights: {base: 2, kind: 0.5, fair: 0.5, calm: 0.5}\n") == plain
    assert fingerprint("extends: base\nweights: {kind: 2}\n") != plain
    assert fingerprint("extends: base\ndrop: kind\n") != plain


def test_a_dump_has_the_weights_in_it(folder: Path) -> None:
    weights(folder, "extends: base\nweights: {base: 0.3}\ndrop: calm\n")
    done = load_constitution(folder / "mine.yaml", TEMPLATES)
    (folder / "copy.yaml").write_text(dump(done))
    assert load_constitution(folder / "copy.yaml", TEMPLATES) == done


def test_two_ways_of_one_principle_must_agree(folder: Path) -> None:
    (folder / "half.yaml").write_text("extends: base\nweights: {base: 0.5}\n")
    told = fault(folder, "extends: [half, base]\ndrop: [fair, calm]\n")
    assert told == (
        "mine.yaml:1:17: 'kind' comes at weight 1 from 'half' and at 2 from 'base'; "
        "extend one of them only, or give both one weight"
    )
    same = weights(folder, "extends: [half, base]\nweights: {base: 0.5}\n")
    assert same == {"kind": 1.0, "fair": 0.5, "calm": 0.25}


SLIPS = {
    "an unknown name": (
        "extends: base\nweights:\n  kidn: 2\n",
        "mine.yaml:3:3: 'kidn' is no entry of 'extends' and no inherited principle; did you mean 'kind'?",
    ),
    "a name of nothing near": (
        "extends: base\nweights:\n  xyzzyx: 2\n",
        "mine.yaml:3:3: 'xyzzyx' is no entry of 'extends' and no inherited principle; "
        "'cai show base' lists what there is",
    ),
    "a principle of its own": (
        "extends: base\nweights:\n  own: 2\nprinciples: [{id: own, principle: Be clear.}]\n",
        "mine.yaml:3:3: 'own' is no entry of 'extends' and no inherited principle; "
        "'cai show base' lists what there is",
    ),
    "an unknown id": (
        "extends: base\ndrop:\n  - kind\n  - clam\n",
        "mine.yaml:4:5: no inherited principle has the id 'clam'; did you mean 'calm'?",
    ),
    "a whole parent": (
        "extends: [base, other]\ndrop: [base]\n",
        "mine.yaml:2:8: no inherited principle has the id 'base'; "
        "to leave out all of it, take it out of 'extends'",
    ),
    "dropped twice": ("extends: base\ndrop: [kind, kind]\n", "mine.yaml:2:14: 'kind' is dropped twice"),
    "dropped and weighed": (
        "extends: base\nweights: {kind: 2}\ndrop: kind\n",
        "mine.yaml:2:11: 'kind' is dropped, so it has no weight",
    ),
    "nothing is inherited": (
        "weights: {kind: 2}\nprinciples: [Be kind.]\n",
        "mine.yaml:1:1: 'weights' is about what a constitution inherits, and this one extends nothing",
    ),
    "nothing is left": ("extends: other\ndrop: brief\n", "mine.yaml:2:1: no principle is left"),
    "one file by two names": (
        "extends: [base, base.yaml]\nweights: {base.yaml: 2}\n",
        "mine.yaml:2:11: 'base.yaml' names a constitution that 'extends' has already named in another way",
    ),
    "too heavy": (
        "extends: base\nweights: {base: 600}\n",
        "mine.yaml:2:17: makes the weight of 'kind' 1200; it must be above 0, at most 1000",
    ),
    "zero": ("extends: base\nweights: {kind: 0}\n", "mine.yaml:2:17: 'kind' must be greater than 0, not 0"),
    "a word": (
        "extends: base\nweights: {kind: no}\n",
        "mine.yaml:2:17: 'kind' must be a number, not the text 'no'",
    ),
    "true": ("extends: base\nweights: {kind: true}\n", "mine.yaml:2:17: 'kind' must be a number, not true"),
    "a list": (
        "extends: base\nweights: [kind]\n",
        "mine.yaml:2:10: 'weights' must be a mapping of keys and values, not a list",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_every_slip_is_told_with_its_place(slip: str, folder: Path) -> None:
    text, told = SLIPS[slip]
    assert fault(folder, text) == told


def test_a_weight_that_vanishes_is_told(folder: Path) -> None:
    assert "makes the weight of 'calm' 0;" in fault(
        folder, "extends: base\nweights: {base: 1e-200, calm: 1e-200}\n"
    )


def test_a_name_of_two_things_is_told(folder: Path) -> None:
    (folder / "kind").write_text("principles: [{id: brief, principle: Be brief.}]\n")
    told = fault(folder, "extends: [base, kind]\nweights: {kind: 2}\n")
    assert told.endswith(
        "'kind' is an entry of 'extends' and the id of a principle; name the file by its path"
    )
    by_path = weights(folder, "extends: [base, ./kind]\nweights: {kind: 2}\n")
    assert by_path == {"kind": 4.0, "fair": 1.0, "calm": 0.5, "brief": 1.0}


def test_a_missing_parent_is_told_alone(folder: Path) -> None:
    """What would have come from it is not called unknown on top."""
    told = fault(folder, "extends: [base, bsae]\nweights: {what-it-has: 2}\ndrop: [what-else]\n")
    assert len(told.splitlines()) == 1 and "no constitution 'bsae'" in told


def test_the_schema_knows_both_keys(folder: Path) -> None:
    schema = constitution_schema()
    jsonschema.validate(yaml.safe_load("extends: base\nweights: {base: 0.3}\ndrop: [kind]\n"), schema)
    for wrong in ("extends: base\nweights: {base: 0}\n", "extends: base\nweights: {base: heavy}\n"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(wrong), schema)


def test_where_each_principle_was_written(folder: Path) -> None:
    weights(
        folder,
        "extends: base\nweights: {base: 0.5}\nprinciples:\n  - {id: own, principle: Be it., question: Q?}\n",
    )
    constitution, written = trace(folder / "mine.yaml", TEMPLATES)
    assert tuple(one.value for one in written) == constitution.principles
    assert [Path(one.where).name for one in written] == [
        "base.yaml:3",
        "base.yaml:4",
        "base.yaml:5",
        "mine.yaml:4",
    ]
    assert [one.entry.weight for one in written] == [2.0, 1.0, 0.5, 1.0]
    assert [one.derived for one in written][2:] == [
        ("critique", "revision", "question"),
        ("critique", "revision"),
    ]
