"""``cai show`` and the warnings of ``cai validate``, as they are read in a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cai.cli.app import app
from cai.config.resources import shipped_constitutions
from cai.constitution.load import load_constitution
from cai.values.errors import CaiError

BASE = """
principles:
  - id: kind
    principle: The assistant is kind to everyone whom it meets, also to those who are not kind to it at first.
    question: Which response is kinder?
    weight: 3
    tags: [tone, people]
    examples: [{prompt: Hi., worse: No., better: Hello.}]
  - id: fair
    principle: The assistant is fair.
"""
MINE = """
name: ours
description: What we stand for.
extends: base
weights: {base: 0.5}
principles:
  - The assistant answers in the language of the question.
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "mine.yaml").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cai(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_resolved_list(folder: Path) -> None:
    done = cai("show", "mine.yaml")
    assert done.exit_code == 0
    assert (
        done.stdout
        == """\
ours: 3 principles, weight 3 in all
What we stand for.

from base.yaml
  50.0%  kind
         The assistant is kind to everyone whom it meets, also to those who are
         not kind to it at first.
         line 3; weight 1.5 (3 as written); 1 example; tags: tone, people;
         derived: critique, revision
  16.7%  fair
         The assistant is fair.
         line 9; weight 0.5 (1 as written); no examples; tags: none; derived:
         critique, revision, question

from mine.yaml
  33.3%  assistant-answers-language-question
         The assistant answers in the language of the question.
         line 7; weight 1; no examples; tags: none; derived: critique, revision,
         question
"""
    )


def test_texts_are_shown_with_which_are_derived(folder: Path) -> None:
    lines = " ".join(cai("show", "mine.yaml", "--texts").stdout.split())
    assert "question: Which response is kinder?" in lines
    fair = load_constitution("mine.yaml")["fair"]
    for key in ("critique", "revision", "question"):
        assert f"{key} (derived): {getattr(fair, key)}" in lines


def test_texts_are_derived_by_the_templates_that_are_set(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "own" / "derived_question.jinja").write_text("Whose words fit: {{ principle.principle }}\n")
    shown = cai("show", "mine.yaml", "--texts", "--set", "templates=own").stdout
    assert "question (derived): Whose words fit: The assistant is fair." in " ".join(shown.split())


def test_json_has_everything(folder: Path) -> None:
    found = json.loads(cai("show", "mine.yaml", "--json").stdout)
    constitution = load_constitution("mine.yaml")
    assert (found["name"], found["fingerprint"]) == ("ours", constitution.fingerprint)
    assert [p["id"] for p in found["principles"]] == [p.id for p in constitution.principles]
    assert sum(p["probability"] for p in found["principles"]) == pytest.approx(1.0)
    first = found["principles"][0]
    assert (first["file"], first["line"]) == ("base.yaml", 3)
    assert (first["weight"], first["weight_as_written"], first["probability"]) == (1.5, 3.0, 0.5)
    assert (first["tags"], first["examples"]) == (["tone", "people"], 1)
    assert first["derived"] == ["critique", "revision"]
    assert first["question"] == "Which response is kinder?"


@pytest.mark.parametrize("name", shipped_constitutions())
def test_what_is_shipped_fits_eighty_columns(name: str) -> None:
    done = cai("show", name, "--texts")
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert ".yaml, shipped with cai" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["harmles"], "no constitution 'harmles'.* did you mean 'harmless'"),
        (["broken.yaml"], "broken.yaml:3:3: 'kidn' is no entry"),
        (["mine.yaml", "--set", "templates=nowhere"], "'nowhere' is not a folder"),
    ],
)
def test_faults_are_told_as_everywhere(arguments: list[str], told: str, folder: Path) -> None:
    (folder / "broken.yaml").write_text("extends: base\nweights:\n  kidn: 1\n")
    done = cai("show", *arguments)
    assert isinstance(done.exception, CaiError) and done.exception.exit_code == 2
    with pytest.raises(CaiError, match=told):
        raise done.exception


def test_nothing_that_a_file_says_commands_the_terminal(folder: Path) -> None:
    (folder / "bad.yaml").write_text(
        'description: "a\\e[31mred"\nprinciples: ["Be \\e]0;x\\a kind {{ \\e }}."]\n'
    )
    for more in ([], ["--texts"], ["--json"]):
        assert "\x1b" not in cai("show", "bad.yaml", *more).stdout
    told = cai("validate", "bad.yaml").stderr
    assert "\x1b" not in told and "{{ \\x1b }}" in told


def test_validate_warns_on_stderr_and_calls_the_file_good(folder: Path) -> None:
    (folder / "odd.yaml").write_text(
        "principles:\n  - Yes\n  - {principle: Be kind., question: 'Is {{ this }} it?'}\n"
        "  - {id: b, principle: Be kind!}\n"
    )
    done = cai("validate", "odd.yaml")
    assert done.exit_code == 0
    assert done.stdout == "odd.yaml: odd, 3 principles, no fault found\n"
    assert done.stderr.splitlines() == [
        "warning: odd.yaml:2:5: 'principle' is only 'Yes', which asks for nothing",
        "warning: odd.yaml:3:37: 'question' is shown as it stands; nothing is filled in for '{{ this }}'",
        "warning: odd.yaml:4:5: says nearly the same as 'kind' in odd.yaml:3, or its opposite",
        "warning: odd.yaml: 3 of 3 principles have no examples for 'cai test': yes, kind, b",
    ]
