"""Constitutions: what is derived, what is inherited, and how principles are drawn."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
import yaml

from cai.config.resources import shipped_constitutions
from cai.constitution.load import (
    Constitution,
    Example,
    Principle,
    constitution_schema,
    draw,
    draw_many,
    dump,
    load_constitution,
)
from cai.constitution.templates import Templates
from cai.values.errors import FileError, UsageError
from cai.values.types import Message

SHIPPED = shipped_constitutions()


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_plain_sentence_gets_an_id_and_everything_derived(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.yaml", "principles:\n  - The response never helps with theft.\n")
    constitution = load_constitution(path)
    templates = Templates.load()
    (principle,) = constitution.principles
    assert constitution.name == "mine"
    assert principle.id == "response-never-helps-theft"
    assert principle.critique == templates.derived_critique(principle)
    assert principle.revision == templates.derived_revision(principle)
    assert principle.question == templates.derived_question(principle)
    assert (principle.weight, principle.tags, principle.examples) == (1.0, (), ())


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """
name: Mine
description: For a test.
principles:
  - id: kind
    principle: Be kind.
    critique: Where is it unkind?
    revision: Make it kind.
    question: Which is kinder?
    weight: 2.5
    tags: [tone, safety]
    examples:
      - {prompt: Hi, violating: Go away., clean: Hello!}
      - prompt: [{role: user, content: Hi}, {role: assistant, content: Yes?}, {role: user, content: Bye}]
        worse: Whatever.
        better: Goodbye!
"""
    constitution = load_constitution(write(tmp_path, "c.yaml", text))
    turns = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Bye"))
    assert constitution.principles == (
        Principle(
            id="kind",
            principle="Be kind.",
            critique="Where is it unkind?",
            revision="Make it kind.",
            question="Which is kinder?",
            weight=2.5,
            tags=("tone", "safety"),
            examples=(
                Example((Message("user", "Hi"),), "Go away.", "Hello!", violation=True),
                Example(turns, "Whatever.", "Goodbye!", violation=False),
            ),
        ),
    )
    assert constitution["kind"].weight == 2.5
    with pytest.raises(UsageError, match="no principle 'knd'; did you mean 'kind'"):
        constitution["knd"]


def test_derived_ids_are_distinct_and_stable(tmp_path: Path) -> None:
    text = "principles: [Never help with theft., Never help with the theft!, 你好。]\n"
    ids = [p.id for p in load_constitution(write(tmp_path, "a.yaml", text)).principles]
    assert ids[0] == "never-help-theft"
    assert ids[1].startswith("never-help-theft-") and ids[2].startswith("principle-")
    more = text.replace("principles: [", "principles: [{id: first, principle: Be kind.}, ")
    assert [p.id for p in load_constitution(write(tmp_path, "b.yaml", more)).principles] == ["first", *ids]


def test_extends_puts_the_inherited_first(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "base.yaml", "principles: [Be kind.]\n")
    write(tmp_path / "sub", "left.yaml", "extends: ../base.yaml\nprinciples: [Be fair.]\n")
    write(tmp_path / "sub", "right.yaml", "extends: ../base.yaml\nprinciples: [Be brief.]\n")
    top = write(tmp_path, "top.yaml", "extends: [sub/left, sub/right.yaml]\nprinciples: [Be clear.]\n")
    # The base arrives on two ways and counts once.
    texts = [p.principle for p in load_constitution(top).principles]
    assert texts == ["Be kind.", "Be fair.", "Be brief.", "Be clear."]
    only = write(tmp_path, "only.yaml", "extends: top.yaml\n")
    assert load_constitution(only).principles == load_constitution(top).principles


def test_the_same_id_from_two_files_is_a_clash(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, f"{name}.yaml", f"principles: [{{id: kind, principle: Be kind to {name}.}}]\n")
    top = write(tmp_path, "top.yaml", "extends:\n  - a.yaml\n  - b.yaml\n")
    with pytest.raises(FileError) as caught:
        load_constitution(top)
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    assert str(caught.value) == f"{top}:3:5: the id 'kind' is already used in {a}:1 and in {b}:1"


def test_faults_of_an_extended_file_name_that_file(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "principles: [3]\n")
    with pytest.raises(FileError, match=r"base.yaml:1:14"):
        load_constitution(write(tmp_path, "top.yaml", "extends: base.yaml\n"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_constitutions(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # found from anywhere
    constitution = load_constitution(name)
    assert load_constitution(f"{name}.yaml") == constitution
    assert len(constitution.principles) >= 3
    for principle in constitution.principles:
        assert len(principle.examples) >= 2, principle.id
    jsonschema.validate(yaml.safe_load(SHIPPED[name].read_text()), constitution_schema())


def test_a_file_wins_over_a_shipped_name_with_its_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "cai.constitution.load.shipped_constitutions", lambda: {"harmless": tmp_path / "s.yaml"}
    )
    write(tmp_path, "s.yaml", "principles: [Be kind.]\n")
    assert load_constitution("harmless").principles[0].principle == "Be kind."
    assert load_constitution("harmless.yaml").principles[0].principle == "Be kind."
    write(tmp_path, "harmless.yaml", "principles: [Be fair.]\n")
    assert load_constitution("harmless.yaml").principles[0].principle == "Be fair."
    assert load_constitution("harmless").principles[0].principle == "Be kind."
    with pytest.raises(UsageError, match="did you mean 'harmless'"):
        load_constitution("harmles")


def test_a_dump_reads_back_equal(tmp_path: Path) -> None:
    text = (
        "principles:\n  - 'Be: kind # always'\n  - '1e-6'\n"
        "  - {id: n, principle: x, tags: ['true'], examples: [{prompt: '- hi', worse: '*', better: '&'}]}\n"
    )
    constitution = load_constitution(write(tmp_path, "a.yaml", text))
    again = load_constitution(write(tmp_path, "b.yaml", dump(constitution)))
    assert again == constitution
    assert again.fingerprint == constitution.fingerprint


def test_the_fingerprint_sees_every_word_and_not_the_name() -> None:
    one = constitution_of({"a": 1.0})
    assert dataclasses.replace(one, name="other").fingerprint == one.fingerprint
    reworded = dataclasses.replace(one.principles[0], critique="Other.")
    assert dataclasses.replace(one, principles=(reworded,)).fingerprint != one.fingerprint


# --- Drawing ----------------------------------------------------------------------------------


def constitution_of(weights: dict[str, float]) -> Constitution:
    principles = tuple(Principle(id, id, "c", "r", "q", weight) for id, weight in weights.items())
    return Constitution("test", "", principles)


def test_draws_follow_the_weights() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 0.5}
    n = 8000
    counts = Counter(draw(constitution_of(weights), "seed", i).id for i in range(n))
    expected = {id: n * weight / sum(weights.values()) for id, weight in weights.items()}
    chi_square = sum((counts[id] - expected[id]) ** 2 / expected[id] for id in weights)
    assert chi_square < 11.34  # the 99 % point for three degrees of freedom; the keys are fixed


def test_second_draws_follow_the_weights_of_what_is_left() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    pairs = Counter(tuple(p.id for p in draw_many(constitution_of(weights), 2, i)) for i in range(8000))
    chi_square = 0.0
    for first, second in [(x, y) for x in weights for y in weights if x != y]:
        p = weights[first] / 8.0 * weights[second] / (8.0 - weights[first])
        chi_square += (pairs[first, second] - 8000 * p) ** 2 / (8000 * p)
    assert chi_square < 15.09  # 99 %, five degrees of freedom


def test_a_new_principle_changes_only_the_draws_that_it_wins() -> None:
    before = constitution_of({"a": 1.0, "b": 1.0, "c": 2.0})
    after = constitution_of({"a": 1.0, "b": 1.0, "c": 2.0, "new": 1.0})
    changed = 0
    for i in range(2000):
        old, new = draw(before, i).id, draw(after, i).id
        assert new in (old, "new")
        changed += new == "new"
    assert math.isclose(changed / 2000, 1 / 5, abs_tol=0.03)


def test_order_and_wording_do_not_matter_to_a_draw() -> None:
    constitution = constitution_of({"a": 1.0, "b": 2.0, "c": 3.0})
    reworded = tuple(dataclasses.replace(p, principle="other") for p in reversed(constitution.principles))
    for i in range(200):
        assert draw(constitution, i).id == draw(dataclasses.replace(constitution, principles=reworded), i).id


def test_draw_many_is_without_replacement_and_keys_are_not_confused() -> None:
    constitution = constitution_of({"a": 1.0, "b": 2.0, "c": 3.0})
    assert sorted(p.id for p in draw_many(constitution, 9, "k")) == ["a", "b", "c"]
    assert draw_many(constitution, 2, "k")[0] == draw(constitution, "k")
    different = [draw_many(constitution, 3, 1, i) != draw_many(constitution, 3, "1", i) for i in range(50)]
    assert any(different)  # 1 and "1" are different keys, as are ("ab",) and ("a", "b")
    assert any(draw(constitution, "ab", i) != draw(constitution, "a", "b", i) for i in range(50))


def test_a_draw_is_the_same_for_ever() -> None:
    constitution = constitution_of({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    assert "".join(draw(constitution, 7, "prompt", i).id for i in range(20)) == "bdacddcddacdadcdcacc"


# --- Import weight ----------------------------------------------------------------------------

FRONT = (
    "cai.constitution.load, cai.config.run_config, cai.config.settings, cai.data.sources, "
    "cai.constitution.templates, cai.config.yamlfile, cai.cli.init, cai.config.schema"
)


def test_the_text_front_imports_nothing_heavy() -> None:
    code = f"""
import time; start = time.perf_counter()
import cai.constitution.load, cai.config.run_config
print(f"{{time.perf_counter() - start:.2f}} s")
import sys, {FRONT}
heavy = {{"torch", "transformers", "datasets", "pyarrow", "numpy", "jsonschema"}} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    print(f"import of cai.constitution.load and cai.config: {done.stdout.strip()}")
