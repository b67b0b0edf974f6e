"""The constitutions that are written for real models: complete, told apart, and of today's length."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cai.constitution import load
from cai.constitution.advice import likeness, telling_words, warnings
from cai.constitution.inert import talks_to_judge
from cai.constitution.inherit import Written
from cai.constitution.load import Constitution, trace
from cai.constitution.templates import Templates

FOLDER = Path(__file__).parents[2] / "tools" / "pocket" / "second" / "constitutions"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml")) if path.stem != "shipped"}
SUBJECTS = {"danger", "theft", "insult", "privacy", "medical", "belief", "refusal", "offtopic", "harm"}
TEMPLATES = Templates.load()
# What is short because its principle is about being short, or too short because it is the fault.
SHORT = {"right-length", "brief"}
LONGEST_LABEL_PROMPT = 2200  # characters, about 550 tokens: with two worked labels below 1,024


@pytest.fixture(autouse=True)
def _instead_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "shipped_constitutions", lambda: FILES)


def found(name: str) -> tuple[Constitution, list[Written]]:
    return trace(name, TEMPLATES)


def shares(name: str) -> dict[str, float]:
    constitution, written = found(name)
    total = sum(p.weight for p in constitution.principles)
    per_file = dict.fromkeys((one.file.stem for one in written), 0.0)
    for one in written:
        per_file[one.file.stem] += one.value.weight / total
    return per_file


def test_they_are_the_six() -> None:
    assert list(FILES) == ["character", "harmless", "helpful", "hhh", "honest", "support"]
    assert 20 <= len(found("harmless")[1]) <= 22
    assert all(6 <= len(found(name)[1]) <= 8 for name in ("helpful", "honest", "character"))


@pytest.mark.parametrize("name", FILES)
def test_every_text_is_written_out_and_nothing_is_warned_of(name: str) -> None:
    constitution, written = found(name)
    assert warnings(name, written) == []
    assert constitution.name == name and constitution.description
    for one in written:
        assert one.derived == () and one.value.tags, one.value.id
        texts = [one.value.principle, one.value.critique, one.value.revision, one.value.question]
        assert len({text.casefold() for text in texts}) == 4
        assert all(5 <= len(text.split()) <= 45 for text in texts), one.value.id
        assert one.value.question.endswith("?") and one.value.question.count("?") == 1, one.value.id


@pytest.mark.parametrize("name", FILES)
def test_no_two_principles_are_alike(name: str) -> None:
    words = [telling_words(one.value.principle) for one in found(name)[1]]
    assert max(likeness(a, b) for i, a in enumerate(words) for b in words[:i]) < 0.3


@pytest.mark.parametrize("name", FILES)
def test_examples_have_the_length_of_answers_and_do_not_talk_to_a_judge(name: str) -> None:
    forms = set()
    for one in found(name)[1]:
        assert len(one.value.examples) >= 2, one.value.id
        for example in one.value.examples:
            forms.add(example.violation)
            for answer in (example.worse, example.better):
                least = 25 if one.value.id in SHORT else 60
                assert least <= len(answer.split()) <= 180, (one.value.id, answer)
                assert not talks_to_judge(answer)
            prompt = TEMPLATES.label(example.prompt, example.worse, example.better, one.value)
            assert len(prompt) < LONGEST_LABEL_PROMPT, one.value.id
    assert forms == {True, False}


def test_weights_are_as_the_descriptions_say() -> None:
    constitution, _ = found("harmless")
    general = [p for p in constitution.principles if "general" in p.tags]
    assert general == list(constitution.principles[:3])
    share = sum(p.weight for p in general) / sum(p.weight for p in constitution.principles)
    assert f"drawn {share:.0%} of".replace("%", " %") in " ".join(constitution.description.split())
    assert shares("hhh") == pytest.approx(dict.fromkeys(("helpful", "honest", "harmless"), 1 / 3), abs=0.02)
    parts = [f"{shares('hhh')[part]:.0%}".rstrip("%") for part in ("harmless", "helpful", "honest")]
    assert f"({parts[0]}, {parts[1]} and {parts[2]} %)" in " ".join(found("hhh")[0].description.split())


def test_support_lowers_and_drops_what_it_inherits() -> None:
    whole = {p.id: p.weight for p in found("harmless")[0].principles}
    kept = {p.id: p.weight for p in found("support")[0].principles}
    assert whole.keys() - kept.keys() >= {"mass-casualty"}
    assert kept["no-help-with-harm"] < whole["no-help-with-harm"]
    assert shares("support")["support"] > 0.4


def test_subjects_are_stated_for_every_principle_and_for_no_other() -> None:
    stated = yaml.safe_load((FOLDER / "shipped.yaml").read_text(encoding="utf-8"))
    own: dict[str, list[str]] = {}
    for name in FILES:
        for one in found(name)[1]:
            ids = own.setdefault(one.file.stem, [])
            if one.value.id not in ids:
                ids.append(one.value.id)
    assert {name: list(ids) for name, ids in stated.items()} == own
    assert {subject for ids in stated.values() for about in ids.values() for subject in about} <= SUBJECTS
