"""Which texts say nothing, and which short ones say something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.stages.degenerate import degenerate


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \n\t\r", "empty"),
        ("\u200b\ufeff\x00\x1b", "empty"),
        (":", "punctuation only"),
        ("...!?", "punctuation only"),
        ("——「」。", "punctuation only"),
        ("=>", "punctuation only"),
        ("<think></think>", "markup only"),
        ("<|im_end|>\n[INST]", "markup only"),
        ("no no no no", "one token repeated"),
        ("Yes, yes! YES; yes", "one token repeated"),
        ("aaaaaaaaaa", "one token repeated"),
        ("哈哈哈哈哈哈哈哈", "one token repeated"),
        ("Thought process:", "a heading without a text"),
        ("**Thought process:**", "a heading without a text"),
        ("## Answer:\n\nExplanation:", "a heading without a text"),
        ("Sure, here is the answer:", "a heading without a text"),
        ("回答：", "a heading without a text"),
    ],
)
def test_what_says_nothing(text: str, why: str) -> None:
    assert degenerate(text) == why


@pytest.mark.parametrize(
    "text",
    [
        "No.",
        "4",
        "1111",
        "11111111",
        "é",
        "はい",
        "👍",
        "∞",
        "no no no",
        "bye bye",
        "Thought process: it is rude.",
        "Answer:\n4",
        "<b>Yes</b>",
        "x <y> z",
        "The answer to the question that you have asked me today is:",  # cut off, but words
    ],
)
def test_short_answers_are_answers(text: str) -> None:
    assert degenerate(text) is None


@given(st.text(alphabet=st.characters(categories=["P", "Z", "C", "M"]), max_size=40))
def test_signs_alone_never_say_anything(text: str) -> None:
    assert degenerate(text) is not None


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    assert degenerate(text) is None or degenerate(text) == degenerate(text + " ")
