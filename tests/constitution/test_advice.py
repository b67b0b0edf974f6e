"""Warnings of what a constitution says and hardly ever means, and silence about what is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from effort import steps

from cai.config.resources import shipped_constitutions
from cai.constitution.advice import ALIKE, likeness, telling_words, warnings
from cai.constitution.load import trace
from cai.constitution.templates import Templates

TEMPLATES = Templates.load()
EXAMPLES = "    examples: [{prompt: Hi., worse: No., better: Hello.}]\n"


def advice(folder: Path, text: str) -> list[str]:
    """Warnings about a file of this text, but for that about examples."""
    path = folder / "mine.yaml"
    path.write_text(text)
    told = [str(problem) for problem in warnings("mine.yaml", trace(path, TEMPLATES)[1])]
    return [line.removeprefix(f"{folder}/") for line in told if "no examples" not in line]


@pytest.mark.parametrize(
    "text", ["Yes", "no", "NO!", "True", "off", "null", "OK.", "n/a", "42", "3.5", "-1", "100 %"]
)
def test_a_principle_that_asks_for_nothing(text: str, tmp_path: Path) -> None:
    (told,) = advice(tmp_path, f'principles:\n  - "{text}"\n')
    assert told == f"mine.yaml:2:5: 'principle' is only '{text}', which asks for nothing"


def test_an_unquoted_yes_is_text_and_is_told(tmp_path: Path) -> None:
    assert advice(tmp_path, "principles:\n  - Yes\n  - No\n") == [
        "mine.yaml:2:5: 'principle' is only 'Yes', which asks for nothing",
        "mine.yaml:3:5: 'principle' is only 'No', which asks for nothing",
    ]


@pytest.mark.parametrize("key", ["critique", "revision", "question"])
def test_the_other_texts_are_read_too(key: str, tmp_path: Path) -> None:
    for text, words in (("Yes.", "only 'Yes.'"), ("TODO write this", "unfinished: 'TODO'")):
        (told,) = advice(tmp_path, f"principles:\n  - principle: Be kind.\n    {key}: {text}\n")
        assert told.startswith(f"mine.yaml:3:{len(key) + 7}: '{key}' ") and words in told


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("TODO", "TODO"),
        ("The assistant is FIXME.", "FIXME"),
        ("XXX what about minors?", "XXX"),
        ("TBD: tone", "TBD"),
        ("Lorem ipsum dolor sit amet.", "Lorem ipsum"),
        ("The assistant is kind to <your customers>.", "<your customers>"),
        ("[Describe how a good answer behaves]", "[Describe"),
        ("[describe how a good answer behaves]", "[describe how a good answer behaves]"),
    ],
)
def test_unfinished_text(text: str, mark: str, tmp_path: Path) -> None:
    told = advice(tmp_path, f'principles:\n  - "{text}"\n')
    assert [line.split(": ", 1)[1] for line in told] == [
        f"'principle' looks unfinished: '{mark}'"
    ] or mark == "[Describe"


def test_an_unfinished_example_is_told_at_its_line(tmp_path: Path) -> None:
    text = (
        "principles:\n  - principle: Be kind.\n    examples:\n      - prompt: Hi.\n"
        "        violating: Go away.\n        clean: TODO\n"
    )
    assert advice(tmp_path, text) == ["mine.yaml:6:16: 'clean' looks unfinished: 'TODO'"]
    assert advice(tmp_path, text.replace("clean: TODO", "clean: Write TODO over the list.")) == []


@pytest.mark.parametrize(
    "braces", ["{{ principle.principle }}", "{principle}", "{% if a %}", "{{x", "{ x }", "{a.b}"]
)
def test_braces_that_nobody_fills_in(braces: str, tmp_path: Path) -> None:
    told = advice(
        tmp_path, f'principles:\n  - principle: Be kind.\n    question: "Which is {braces} better?"\n'
    )
    assert len(told) == 1 and told[0].startswith("mine.yaml:3:15: 'question' is shown as it stands")


NEAR = [
    ("Be kind.", "be kind!"),
    ("The assistant never helps with theft.", "The assistant does not help with theft."),
    ("Never help with theft or fraud.", "Do not help with fraud or theft."),
    ("Respect people's privacy.", "Respect the privacy of people."),
    ("The assistant is kind, fair and patient.", "Be kind, fair, calm and patient."),  # three of four words
    ("The assistant helps with theft.", "The assistant does not help with theft."),  # and its opposite
]
FAR = [
    ("Be kind.", "Be very kind."),
    ("The assistant gives no help with weapons.", "The assistant gives no help with drugs."),
    (
        "The assistant declines to help with weapons and says why.",
        "The assistant declines to help with drugs and says why.",
    ),
    ("It is.", "They are not."),
]


@pytest.mark.parametrize(("first", "second"), NEAR)
def test_near_duplicates(first: str, second: str, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(f'principles:\n  - {{id: a, principle: "{first}"}}\n')
    text = f'extends: base\nprinciples:\n  - {{id: b, principle: "{second}"}}\n'
    (told,) = advice(tmp_path, text)
    assert told == f"mine.yaml:3:5: says nearly the same as 'a' in {tmp_path}/base.yaml:2, or its opposite"


@pytest.mark.parametrize(("first", "second"), FAR)
def test_what_only_resembles_is_let_be(first: str, second: str, tmp_path: Path) -> None:
    assert advice(tmp_path, f"principles:\n  - {first}\n  - {second}\n") == []


def test_what_is_meant_is_let_be(tmp_path: Path) -> None:
    for text in (
        "The assistant says yes or no first.",
        "The assistant keeps a to-do list.",
        "The assistant writes sets with braces, such as {1, 2}.",
        "The assistant hides what stands in <think> tags.",
        "The assistant cites sources as [1] or [Smith 2020].",
        "诚实。",
    ):
        assert advice(tmp_path, f'principles:\n  - "{text}"\n') == [], text


def test_missing_examples_are_one_line_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    names = "".join(f"  - {{id: p{n}, principle: Be number{n} {'x' * n}.}}\n" for n in range(8))
    path.write_text(f"principles:\n{names}  - principle: Be whole.\n{EXAMPLES}")
    (told,) = warnings("mine.yaml", trace(path, TEMPLATES)[1])
    assert str(told) == (
        "mine.yaml: 8 of 9 principles have no examples for 'cai test': p0, p1, p2, p3, p4 and 3 more"
    )


@pytest.mark.parametrize("name", shipped_constitutions())
def test_nothing_is_said_about_what_is_shipped(name: str) -> None:
    written = trace(name, TEMPLATES)[1]
    assert warnings(name, written) == []
    words = [telling_words(one.value.principle) for one in written]
    nearest = max((likeness(a, b) for i, a in enumerate(words) for b in words[:i]), default=0.0)
    assert nearest < 0.5 < ALIKE


def test_ten_thousand_principles_are_looked_at_in_no_time(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"

    def work(count: int) -> int:
        path.write_text(
            "principles:\n" + "".join(f"  - Answer {n} is kind about it.\n" for n in range(count))
        )
        written = trace(path, TEMPLATES)[1]
        return steps(lambda: warnings("big.yaml", written))

    assert work(4000) < 2.2 * work(2000)
