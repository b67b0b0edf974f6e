"""Verdicts in words and codes; the meaning of a code is decided over the whole column."""

from __future__ import annotations

from typing import Any

import pytest

from cai.data.verdicts import coding_of, parse_coding, side_of, verdict
from cai.values.errors import FileError, ItemError, UsageError

WORDS = {
    "a": ["A", "A is better", "Response 1", "model_a", "left", "the first one", "Prefer A", 
          "A is a bit better",
          "A is much better than B", "A>B",
          "b < a", "answer1", "[[A]]", "a-is-better"],
    "b": ["b", "Response B", "answer 2", "right", "B wins", "Second response is clearly better", "A<<B"],
    "tie": ["Tie", "No preference", "about the same", "both good", "It's a tie", "A=B", "Equal",
            "no difference"],
    "both_bad": ["Both are bad", "tie (bothbad)", "both_bad", "neither", "Neither is good", "equally bad",
                 "All bad"],
    None: ["A is worse", "A isn't better", "Neither is better", "Unsure", "good", "C", "[[C]]",
           "A or B", "", "ab"],
}  # fmt: skip


@pytest.mark.parametrize(("side", "word"), [(side, word) for side, words in WORDS.items() for word in words])
def test_words(side: str | None, word: str) -> None:
    assert side_of(word) == side


def coding(cells: list[Any], said: str = "") -> dict[str, str]:
    return dict(coding_of("v.csv", "preferred", cells, ("x1", "x2"), parse_coding(said) if said else {}))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([1, 2, 1], {"1": "a", "2": "b"}),
        (["2", "2.0", 2.0], {"2": "b"}),
        (["1", "2", "tie"], {"1": "a", "2": "b", "tie": "tie"}),
        (["A", "B", ""], {"a": "a", "b": "b"}),
        (["x1", "x2"], {"x1": "a", "x2": "b"}),
        (["a", "b", 0], {"a": "a", "b": "b"}),  # a number astray: its row is refused
        ([None, "?"], {}),
    ],
)
def test_codes_that_can_be_told(cells: list[Any], expected: dict[str, str]) -> None:
    assert coding(cells) == expected


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([0, 1, 0], "holds 0 and 1, .* say --coding 0=a,1=b or --coding 1=a,0=b"),
        (["1", "0", "1"], "holds 0 and 1"),
        ([1, 1], "holds 1, .* say --coding 1=a or --coding 1=b"),
        ([0], "holds 0, "),
        ([True, False], "say --coding true=a,false=b or --coding true=b,false=a"),
        (["yes", "no"], "holds no and yes, .* say --coding no=…,yes=… "),
        ([0, 1, 2], "0=tie,1=a,2=b or --coding 0=a,1=b,2=tie"),
        ([-1, 1, 0], "-1=a,0=tie,1=b or"),
        ([1, 2, 3], "holds 1, 2 and 3"),
        (["0", "1", "tie"], "holds 0 and 1"),
    ],
)
def test_codes_that_must_be_asked_for(cells: list[Any], message: str) -> None:
    with pytest.raises(FileError, match=message):
        coding(cells)


def test_what_the_user_says_of_codes() -> None:
    assert coding([0, 1, 0], "0=a, 1=b") == {"0": "a", "1": "b"}
    assert coding([-1, 0, 1], "-1=b,0=tie,1=a") == {"-1": "b", "0": "tie", "1": "a"}
    with pytest.raises(FileError, match="holds 3, "):
        coding([0, 1, 3], "0=a,1=b")
    for bad in ("0", "0=first", "=a"):
        with pytest.raises(UsageError, match="is not value=a, b, tie or both_bad"):
            parse_coding(bad)


def test_a_code_without_a_coding_is_refused() -> None:
    with pytest.raises(ItemError, match="label out of range"):
        verdict(1, "'preferred'", coding={})
    assert verdict(1, "'preferred'", coding={"1": "b"}).p == 0.0
