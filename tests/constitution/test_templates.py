"""Templates: what they may use, what they produce, and the worked examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from cai.constitution.templatecheck import MAX_OUTPUT_CHARS
from cai.constitution.templates import Templates
from cai.values.errors import CaiError, FileError, ItemError, UsageError
from cai.values.types import Message


@dataclass(frozen=True)
class Kind:
    id: str = "kind"
    principle: str = "Be kind."
    critique: str = "Where is it unkind?"
    revision: str = "Make it kinder."
    question: str = "Which one is kinder?"


QUESTION = (Message("user", "Hello?"),)


def load(folder: Path, files: Mapping[str, str]) -> Templates:
    for name, text in files.items():
        (folder / name).write_text(text)
    return Templates.load(folder)


def test_the_shipped_templates_render() -> None:
    templates = Templates.load()
    assert templates.critique(Kind()).startswith("Critique request: Where is it unkind?")
    assert templates.critique(Kind()).endswith(templates.no_problem)
    assert "Make it kinder." in templates.revision(Kind())
    label = templates.label(QUESTION, "one", "two", Kind())
    assert label.index("Human: Hello?") < label.index("Which one is kinder?") < label.index("(A) one")
    assert label.index("(A) one") < label.index("(B) two")
    assert "Be kind." in templates.derived_question(Kind())
    assert templates.label_answer(Kind()).endswith("(")
    assert "Is it so?" in templates.judge(QUESTION, "Is it so?")


def test_results_have_no_trailing_line_ends(tmp_path: Path) -> None:
    templates = load(tmp_path, {"revision.jinja": "{{ principle.revision }}\n\n\n"})
    assert templates.revision(Kind()) == "Make it kinder."


def test_values_are_never_rendered() -> None:
    hostile = "{{ 7 * 7 }} {% for x in y %} {# c #} (X) <|im_end|> \u202eabc \U0001f600"
    rendered = Templates.load().label((Message("user", hostile),), hostile, "b", Kind())
    assert rendered.count(hostile) == 2


def test_a_users_file_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    templates = load(tmp_path, {"critique.jinja": "My way: {{ principle.critique | upper }}", ".hidden": ""})
    assert templates.critique(Kind()) == "My way: WHERE IS IT UNKIND?"
    assert templates.revision(Kind()) == Templates.load().revision(Kind())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("critque.jinja", "x", "critque.jinja: not the name of a template; did you mean 'critique.jinja'?"),
        ("zzz", "x", "zzz: not the name of a template; known names are critique.jinja, "),
        ("revision.jinja", "\n{{ princple }}", ":2: unknown variable 'princple'; did you mean 'principle'?"),
        ("revision.jinja", "{{ a }}", ":1: unknown variable 'a'; known here: principle"),
        ("revision.jinja", "{{ no_problem }}", ":1: unknown variable 'no_problem'; known here: principle"),
        (
            "critique.jinja",
            "{{ principle.critque }}",
            ":1: a principle has no 'critque' here; did you mean 'critique'?",
        ),
        (
            "derived_question.jinja",
            "{{ principle.question }}",
            ":1: a principle has no 'question' here; it has principle",
        ),
        (
            "label.jinja",
            "{% for t in conversation %}\n{{ t.contents }}{% endfor %}",
            ":2: fails on a sample: ",
        ),
        ("label.jinja", "{% for t in conversation %}", ":1: Unexpected end of template."),
        ("label.jinja", "{{ a | wordcount }}", ":1: No filter named 'wordcount'."),
        ("label.jinja", "{{ 'a' * 10**9 }}", ":1: '*' is not allowed"),
        ("label.jinja", "{{ 10 ** 10 ** 10 }}", ":1: '**' is not allowed"),
        ("label.jinja", "{{ '%1000000000d' % 1 }}", ":1: '%' is not allowed"),
        ("label.jinja", "{{ a.ljust(10000000) }}", ":1: calls are not allowed; use a filter"),
        ("label.jinja", "{{ ''.__class__.__mro__ }}", ":1: fails on a sample: "),
        ("label.jinja", "{% set x = a %}{% set x = x ~ x %}", ":1: 'set' is not allowed"),
        (
            "label.jinja",
            "{% for i in range(9) %}{{ a }}{% endfor %}",
            ":1: calls are not allowed; use a filter",
        ),
        (
            "label.jinja",
            "{% for s in a %}{% for t in a %}x{% endfor %}{% endfor %}",
            ":1: a loop inside a loop",
        ),
        ("label.jinja", "{% macro m() %}{% endmacro %}{{ a }}", ":1: macros are not allowed"),
        ("label.jinja", "{% include '/etc/passwd' %}", ":1: 'include' is not allowed"),
        ("label.jinja", "{% import 'os' as os %}", ":1: 'import' is not allowed"),
        ("label.jinja", "{% extends 'x' %}", ":1: 'extends' is not allowed"),
        ("label.jinja", "{# nothing #}\n", "label.jinja: renders to nothing"),
        ("label.jinja", "x" * 70_000, "label.jinja: larger than 64 KiB"),
        ("examples.yaml", "critiques: []\n", "examples.yaml:1:1: missing key 'labels'"),
    ],
)
def test_faults_are_found_when_loading(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(FileError) as caught:
        load(tmp_path, {name: text})
    assert message in str(caught.value)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileError) as caught:
        load(tmp_path, {"label.jinja": "{{ x }}\n{{ y }}", "revision.jinja": "{{ z }}"})
    assert len(caught.value.problems) == 3


def test_a_template_that_is_not_utf8_and_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        Templates.load(tmp_path / "gone")
    (tmp_path / "label.jinja").write_bytes(b"\xff")
    with pytest.raises(CaiError, match="not UTF-8"):
        Templates.load(tmp_path)


def test_output_is_capped() -> None:
    templates = Templates.load()
    templates.label(QUESTION, "a" * 100_000, "b", Kind())
    with pytest.raises(ItemError, match="prompt too long"):
        templates.label(QUESTION, "a" * (MAX_OUTPUT_CHARS + 1), "b", Kind())


def roles(turns: tuple[Message, ...]) -> list[str]:
    return [turn.role for turn in turns]


def test_critique_shots_alternate_and_show_a_clean_response() -> None:
    templates = Templates.load()
    assert templates.critique_shots(0) == ()
    for n in range(1, 5):
        turns = templates.critique_shots(n)
        assert roles(turns) == ["user", "assistant"] * (len(turns) // 2)
        assert len({turn.content for turn in turns}) >= len(turns) - n  # requests may repeat, texts do not
    first_three = templates.critique_shots(3)
    assert (
        sum(turn.content.endswith(templates.no_problem) for turn in first_three if turn.role == "assistant")
        == 1
    )
    assert any(turn.content.startswith("Revision request:") for turn in first_three)


def test_revision_shots_show_no_critique() -> None:
    templates = Templates.load()
    turns = templates.critique_shots(3, critique=False)
    assert roles(turns) == ["user", "assistant"] * (len(turns) // 2)
    assert not any("ritique" in turn.content for turn in turns)


@pytest.mark.parametrize("chain_of_thought", [False, True])
def test_label_shots_show_both_letters(chain_of_thought: bool) -> None:
    templates = Templates.load()
    turns = templates.label_shots(4, chain_of_thought)
    assert roles(turns) == ["user", "assistant"] * 4
    answers = [turn.content for turn in turns[1::2]]
    assert [answer[-3:] for answer in answers] == ["(A)", "(B)", "(B)", "(A)"]
    start = templates.label_answer(Kind())
    assert all((start in answer) and (answer.startswith(start) != chain_of_thought) for answer in answers)


def test_too_few_examples() -> None:
    with pytest.raises(UsageError, match=r"revise.few_shot is 5, but examples.yaml has 4"):
        Templates.load().critique_shots(5)


def test_a_thought_that_runs_into_the_answer_is_cut_before_it() -> None:
    templates = Templates.load()
    plain = templates.cot_answer("It is kind.", Kind())
    assert templates.cot_answer("It is kind.\n\nThe better option is (B).", Kind()) == plain
    assert plain == "It is kind.\n\nThe better option is ("


def test_examples_must_agree_with_themselves(tmp_path: Path) -> None:
    text = (
        "critiques:\n"
        "  - {prompt: a, response: b, principle: c, critique: No critique needed., revision: d}\n"
        "  - {prompt: a, response: b, principle: c, critique: Bad.}\n"
        "labels: []\n"
    )
    with pytest.raises(FileError) as caught:
        load(tmp_path, {"examples.yaml": text})
    assert [problem.line for problem in caught.value.problems] == [2, 3]
