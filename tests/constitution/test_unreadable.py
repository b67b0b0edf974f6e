"""Texts of a constitution that say nothing: refused with their place, whatever they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.constitution.load import load_constitution
from cai.values.errors import FileError
from cai.values.readable import characters, invisible, wordless

UNSEEN = {
    "zero-width space": "\u200b",
    "joiners": "\u200c\u200d\u2060",
    "direction marks": "\u200e\u202e\u2067",
    "byte-order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "Hangul filler": "\u3164",
    "Braille blank": "\u2800",
    "variation selector": "\ufe0f",
    "combining mark alone": "\u0301",
    "private use": "\ue000",
    "tag characters": "\U000e0041",
    "among spaces": "\u00a0\u200b\u3000",
}
SIGNS = {"full stop": ".", "dashes": "- — –", "question marks": "???", "with zero-width": "\u200b…\u200b"}

# Where a text stands in the file, its place, and how the fault begins.
TEXTS = {
    "sentence": ('principles:\n  - "{}"\n', "2:5", "item 1 of 'principles'"),
    "principle": ('principles:\n  - principle: "{}"\n', "2:16", "'principle'"),
    "critique": ('principles:\n  - principle: Be kind.\n    critique: "{}"\n', "3:15", "'critique'"),
    "revision": ('principles:\n  - principle: Be kind.\n    revision: "{}"\n', "3:15", "'revision'"),
    "question": ('principles:\n  - principle: Be kind.\n    question: "{}"\n', "3:15", "'question'"),
    "tag": ('principles:\n  - principle: Be kind.\n    tags: [a, "{}"]\n', "3:15", "item 2 of 'tags'"),
    "name": ('name: "{}"\nprinciples: [Be kind.]\n', "1:7", "'name'"),
    "prompt": (
        'principles:\n  - principle: Be.\n    examples:\n      - {{prompt: "{}", worse: a, better: b}}\n',
        "4:18",
        "'prompt'",
    ),
}
RESPONSE = 'principles:\n  - principle: Be.\n    examples:\n      - {{prompt: Hi, worse: "{}", better: b}}\n'


def fault(folder: Path, text: str) -> str:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError) as caught:
        load_constitution(path)
    return str(caught.value).removeprefix(f"{path}:")


@pytest.mark.parametrize("text", TEXTS)
def test_what_says_nothing_is_refused_with_its_place(text: str, tmp_path: Path) -> None:
    form, place, named = TEXTS[text]
    for content in UNSEEN.values():
        assert fault(tmp_path, form.format(content)).startswith(f"{place}: {named} "), ascii(content)
    for content in SIGNS.values():
        expected = f"{place}: {named} has no letter, digit or symbol in it ("
        assert fault(tmp_path, form.format(content)).startswith(expected), ascii(content)
    path = tmp_path / "c.yaml"
    path.write_text(
        form.format("\u200bSei freundlich\u200b"), encoding="utf-8"
    )  # invisible ones beside words
    load_constitution(path)


def test_the_characters_are_named(tmp_path: Path) -> None:
    said = fault(tmp_path, TEXTS["sentence"][0].format("\u200b \u200b\u3164"))
    assert said == (
        "2:5: item 1 of 'principles' has nothing in it that can be seen "
        "(U+200B ZERO WIDTH SPACE, U+3164 HANGUL FILLER)"
    )


def test_a_response_of_signs_is_one_and_an_invisible_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(RESPONSE.format("…"))
    assert load_constitution(path).principles[0].examples[0].worse == "…"
    assert fault(tmp_path, RESPONSE.format("\u200b")).startswith("4:29: 'worse' has nothing in it")


@pytest.mark.parametrize("text", ["人", "١", "👍", "a.", "한", "é", "+", "e\u0301"])
def test_every_script_says_something(text: str) -> None:
    assert not wordless(text) and not invisible(text)


def test_signs_are_seen_and_say_nothing() -> None:
    assert [invisible(text) for text in SIGNS.values()] == [False] * 4
    assert all(map(wordless, SIGNS.values())) and wordless("") and invisible("")
    assert characters("\ue000..!?") == "U+E000, '.', '!', …"
    assert characters(" \u3000") == "white space"
