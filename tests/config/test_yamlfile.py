"""The YAML reader: scalars, places, and pydantic's errors in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from cai.config.yamlfile import Place, check, parse_yaml, read_yaml, scalar
from cai.values.errors import FileError
from cai.values.words import did_you_mean, excerpt, one_of, slug


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("true", True),
        ("FALSE", False),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("1e-6", 1e-6),
        ("5E3", 5000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-3", -3),
        ("+3", 3),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("-.inf", float("-inf")),
        (".", "."),
        ("-", "-"),
        ("e5", "e5"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("١٢", "١٢"),
        ("9" * 400, float("inf")),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_scalars_and_keys_are_text() -> None:
    data = parse_yaml("'1': '1'\n2: \"true\"\nno: yes\nnull: ~\n", "f").data
    assert data == {"1": "1", "2": "true", "no": "yes", "null": None}


def test_places_count_from_one() -> None:
    document = parse_yaml("name: x\nlist:\n  - {a: 1,\n     é: two}\n  - three\n", "f")
    assert document.keys[("list",)] == Place(2, 1)
    assert document.values[("list",)] == Place(3, 3)
    assert document.keys[("list", 0, "é")] == Place(4, 6)
    assert document.values[("list", 0, "é")] == Place(4, 9)
    assert document.values[("list", 1)] == Place(5, 5)


def test_a_fault_without_a_place_is_shown_at_what_encloses_it() -> None:
    document = parse_yaml("a:\n  b: 1\n", "f")
    assert str(document.problem(("a", "c", "d"), "wrong")) == "f:2:3: wrong"
    assert str(document.problem(("x",), "wrong", on_key=True)) == "f:1:1: wrong"


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: |\r\n  one\r\n  two\r\nb: 1\r\n")
    document = read_yaml(path)
    assert document.data == {"a": "one\ntwo\n", "b": 1}
    assert document.keys[("b",)].line == 4


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read_yaml(tmp_path / "gone.yaml")


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(gt=0, le=10)
    ratio: float = 0.5
    kind: Literal["small", "large"] = "small"
    words: list[str] = []
    either: str | list[str] = ""
    pair: tuple[float, float] = (0.0, 1.0)
    flag: bool = False


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str
    inner: Inner | None = None
    several: list[Inner] = []


CASES = [
    ("{}", "f:1:1: missing key 'title'"),
    ("title: 5", "f:1:8: 'title' must be text, not the number 5 (put it in quotes)"),
    ("title: [a]", "f:1:8: 'title' must be text, not a list"),
    ("title:", "f:1:7: 'title' must be text, not nothing"),
    ("title: a\ntitel: b", "f:2:1: unknown key 'titel'; did you mean 'title'?"),
    ("title: a\nzzz: b", "f:2:1: unknown key 'zzz'; known keys are title, inner and several"),
    ("title: a\ninner: 3", "f:2:8: 'inner' must be a mapping of keys and values, not the number 3"),
    ("title: a\ninner: {siz: 3}", "f:2:9: unknown key 'siz'; did you mean 'size'?"),
    ("title: a\ninner: {size: 0}", "f:2:15: 'size' must be greater than 0, not 0"),
    ("title: a\ninner: {size: 11}", "f:2:15: 'size' must be at most 10, not 11"),
    ("title: a\ninner: {size: 1.5}", "f:2:15: 'size' must be a whole number, not the number 1.5"),
    ("title: a\ninner: {size: big}", "f:2:15: 'size' must be a whole number, not the text 'big'"),
    ("title: a\ninner: {size: 1, ratio: x}", "f:2:25: 'ratio' must be a number, not the text 'x'"),
    (
        "title: a\ninner: {size: 1, kind: smal}",
        "f:2:24: 'kind' must be small or large, not the text 'smal'; did you mean 'small'?",
    ),
    (
        "title: a\ninner: {size: 1, words: [a, 2]}",
        "f:2:29: item 2 of 'words' must be text, not the number 2 (put it in quotes)",
    ),
    (
        "title: a\ninner: {size: 1, either: 3}",
        "f:2:26: 'either' must be text or a list, not the number 3 (put it in quotes)",
    ),
    ("title: a\ninner: {size: 1, pair: [1]}", "f:2:24: 'pair' has too few items"),
    ("title: a\ninner: {size: 1, pair: [1, 2, 3]}", "f:2:24: 'pair' has too many items"),
    ("title: a\ninner: {size: 1, flag: maybe}", "f:2:24: 'flag' must be true or false, not the text 'maybe'"),
    ("title: a\nseveral: [{size: 1}, {siez: 2}]", "f:2:23: unknown key 'siez'; did you mean 'size'?"),
]


@pytest.mark.parametrize(("text", "message"), CASES)
def test_schema_errors_in_plain_words(text: str, message: str) -> None:
    with pytest.raises(FileError) as caught:
        check(Outer, parse_yaml(text, "f"))
    assert str(caught.value) == message


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    text = "several:\n  - size: 0\n  - kind: x\n    size: y\ntitle: 1\n"
    with pytest.raises(FileError) as caught:
        check(Outer, parse_yaml(text, "f"))
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4, 5]


def test_a_valid_document_becomes_the_model() -> None:
    assert check(Outer, parse_yaml("{title: a, inner: {size: 2, flag: no}}", "f")) == Outer(
        title="a", inner=Inner(size=2, flag=False)
    )


def test_words() -> None:
    assert did_you_mean("critque", ["critique", "revision"]) == "; did you mean 'critique'?"
    assert did_you_mean("lr", ["lora", "learning_rate"]) == "; did you mean 'learning_rate'?"
    assert did_you_mean("CRITIQUE", ["critique"]) == "; did you mean 'critique'?"
    assert did_you_mean("xyz", ["critique"]) == ""
    assert did_you_mean("x", []) == ""
    assert one_of(["a", "b", "c"]) == "a, b or c"
    assert one_of([]) == ""
    assert excerpt("a\nb  c") == "a b c"
    assert excerpt("word " * 50, 12) == "word word w…"
    assert slug("The response doesn’t help anyone to steal.") == "response-doesnt-help-anyone-steal"
    assert slug("你好") == ""
