"""Trees of Markdown: what stands in them, and that they hide nothing. Differences by words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.human.votes.rendering import differences, plain, tree

KNOWN = {
    "p", "ul", "ol", "li", "blockquote", "table", "thead", "tbody", "tr", "th", "td", "em", "strong", "del",
    "br", "hr", "code", "pre", "language", "link", "heading", "plain",
}  # fmt: skip


def nodes(node: Any) -> Iterator[list[Any]]:
    if isinstance(node, list):
        yield node
        for child in node[1:]:
            yield from nodes(child)


def words(text: Any) -> str:
    return text if isinstance(text, str) else " ".join(map(words, text[1:])) if isinstance(text, list) else ""


def test_blocks_and_inline_markup() -> None:
    text = "# Hi\n\nA **b** *c* `d` ~~e~~\nnext\n\n3. one\n4. two\n\n> said\n\n```py\nx = 1\n```\n\n---"
    assert list(tree(text)) == [
        ["heading", {"level": 1}, "Hi"],
        ["p", "A ", ["strong", "b"], " ", ["em", "c"], " ", ["code", "d"], " ", ["del", "e"], ["br"], "next"],
        ["ol", {"start": 3}, ["li", "one"], ["li", "two"]],
        ["blockquote", ["p", "said"]],
        ["pre", ["language", "py"], "x = 1\n"],
        ["hr"],
    ]
    assert list(tree("|a|b|\n|-|-|\n|1|2|")) == [
        ["table", ["thead", ["tr", ["th", "a"], ["th", "b"]]], ["tbody", ["tr", ["td", "1"], ["td", "2"]]]]
    ]


def test_a_link_is_its_text_and_its_address_and_an_image_is_not_loaded() -> None:
    assert list(tree("[here](https://x.org/a)")) == [["p", ["link", "here", " (https://x.org/a)"]]]
    assert list(tree("<https://x.org/>")) == [["p", ["link", "https://x.org/"]]]
    assert list(tree("![alt](https://x.org/a.png)")) == [
        ["p", "!", ["link", "alt", " (https://x.org/a.png)"]]
    ]
    assert list(tree("[x](javascript:alert(1))")) == [["p", "[x](javascript:alert(1))"]]


def test_html_is_text() -> None:
    for text in ("<script>alert(1)</script>", "<b>x</b>", "a <img src=x onerror=alert(1)> b", "<!-- hid -->"):
        assert words(["", *tree(text)]).strip() == text


@pytest.mark.parametrize(
    "text",
    [
        "> " * 40 + "too deep to be rendered",
        '[a](https://x.org "a title that is not shown")',
        "[a]: https://x.org 'definition'\n\n[a]",
        "&lt;script&gt; &copy;",
    ],
)
def test_no_word_is_hidden(text: str) -> None:
    shown = words(["", *tree(text)])
    for word in ("too", "deep", "title", "definition", "lt", "copy"):
        assert (word in text) == (word in shown)


@given(st.text(alphabet="ab *_`#>-|[]()!<&;\n1.~\\", max_size=60))
def test_every_letter_of_any_text_is_shown_with_known_names(text: str) -> None:
    shown = words(["", *tree(text)])
    assert {letter: shown.count(letter) >= text.count(letter) for letter in "ab"} == {"a": True, "b": True}
    assert {node[0] for part in tree(text) for node in nodes(part)} <= KNOWN
    assert json.loads(json.dumps(tree(text))) == list(tree(text))


def test_bombs_are_quick() -> None:
    before = time.process_time()
    for piece in ("[", "*a ", "> ", "`", "<", "![x](y)", "|a|\n|-|\n", "- ", "_*", "&"):
        tree(piece * (40_000 // len(piece)))
    assert list(tree("*x* " * 50_000)) == [plain("*x* " * 50_000)]
    assert time.process_time() - before < 20


def test_differences_are_marked_by_words() -> None:
    assert differences("Boil it for an hour.", "Boil it for two hours.") == (
        [[False, "Boil it for "], [True, "an hour"], [False, "."]],
        [[False, "Boil it for "], [True, "two hours"], [False, "."]],
    )
    assert differences("same", "same") == ([[False, "same"]], [[False, "same"]])


def test_what_is_common_by_chance_is_no_common_ground() -> None:
    left, right = differences("one, two three", "four, five three")
    assert left == [[True, "one, two"], [False, " three"]]
    assert right == [[True, "four, five"], [False, " three"]]
    a, b = (
        "Never open the base while it is plugged in, ever",
        "You should work on boldly and it will shine at once",
    )
    assert differences(a, b) == ([[True, a]], [[True, b]])


@given(st.text(max_size=40), st.text(max_size=40))
def test_the_pieces_of_a_side_are_its_text(a: str, b: str) -> None:
    left, right = differences(a, b)
    assert "".join(text for _, text in left) == a
    assert "".join(text for _, text in right) == b


def test_long_texts_are_compared_in_time() -> None:
    before = time.process_time()
    a = " ".join(f"word{number % 97} and" for number in range(10_000))
    b = " ".join(f"word{number % 89} and" for number in range(10_000))
    differences(a, b)
    assert time.process_time() - before < 10
