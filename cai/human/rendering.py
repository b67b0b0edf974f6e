"""Texts of models as trees that a page can build without ever parsing HTML, and differences between two.

A tree is JSON: a string is text, ``[name, child, ...]`` an element, ``{"start": 3}`` after the name its one
attribute. The page makes elements of the names it knows and text nodes of the strings; there is no way from
a model's text to markup. HTML stays text, images are not loaded, a link is its text and its address.

Rendering must hide nothing of what is judged: where a word of the text would be lost (nesting too deep, a
link's title), the text is shown as it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

MAX_MARKDOWN = 50_000  # characters; what is longer is shown as it stands
EXACT_DIFF = 4_000  # words; above, frequent words are no anchors, which keeps the time linear

Node = Any  # str | list; JSON has no better type

_PARSER = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["table", "strikethrough"])
    .disable(["image", "html_block", "html_inline", "reference", "entity"])
)
_NAMES = {
    "paragraph": "p",
    "heading": "heading",
    "bullet_list": "ul",
    "ordered_list": "ol",
    "list_item": "li",
    "blockquote": "blockquote",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "em": "em",
    "strong": "strong",
    "s": "del",
}
_LETTERS = re.compile(r"[^\W\d_]+")
_PIECES = re.compile(r"\w+(?:['’]\w+)*|\s+|[^\w\s]")


@lru_cache(maxsize=512)
def tree(text: str) -> tuple[Node, ...]:
    """The blocks of a Markdown text. Every line break is kept, as models mean them."""
    if len(text) > MAX_MARKDOWN:
        return (plain(text),)
    top: list[Node] = ["root"]
    _build(_PARSER.parse(text), top)
    lost = Counter(_LETTERS.findall(text)) - Counter(_LETTERS.findall(" ".join(_strings(top))))
    return (plain(text),) if lost else tuple(top[1:])


def plain(text: str) -> Node:
    return ["plain", text]


def differences(a: str, b: str) -> tuple[list[Node], list[Node]]:
    """Both texts in pieces ``[differs, text]``, by words; runs of the same kind are one piece.

    The pieces of a side joined are its text.
    """
    left, right = _PIECES.findall(a), _PIECES.findall(b)
    matcher = SequenceMatcher(None, left, right, autojunk=max(len(left), len(right)) > EXACT_DIFF)
    sides: tuple[list[Node], list[Node]] = ([], [])
    codes = matcher.get_opcodes()
    for index, (kind, i, j, k, m) in enumerate(codes):
        around = [
            max(c[2] - c[1], c[4] - c[3])
            for c in (*codes[max(0, index - 1) : index], *codes[index + 1 :][:1])
        ]
        differs = kind != "equal" or (len(around) == 2 and _is_chance(left[i:j], around))
        for side, words in zip(sides, (left[i:j], right[k:m]), strict=True):
            _append(side, differs, "".join(words))
    return sides


def _is_chance(common: Sequence[str], around: Sequence[int]) -> bool:
    """Whether what two texts share between two changes is no common ground but noise to a reader.

    That is punctuation and space, or one word between changes that are long (in pieces) on both sides.
    """
    words = sum(piece[0].isalnum() for piece in common)
    return words == 0 or (words == 1 and min(around) >= 5)


def _append(side: list[Node], differs: bool, text: str) -> None:
    if not text:
        return
    if side and side[-1][0] == differs:
        side[-1][1] += text
    else:
        side.append([differs, text])


def _build(tokens: Sequence[Token], parent: list[Node]) -> None:
    """Append the nodes of ``tokens`` to ``parent``."""
    stack = [parent]
    addresses: list[str] = []
    for token in tokens:
        kind = token.type
        if kind == "inline":
            _build(token.children or [], stack[-1])
        elif kind == "link_open":
            addresses.append(str(token.attrs.get("href", "")))
            stack.append(["link"])
        elif kind == "link_close":
            node, address = stack.pop(), addresses.pop()
            shown = "".join(_strings(node))
            stack[-1].append(node if address in (shown, f"mailto:{shown}") else [*node, f" ({address})"])
        elif token.nesting > 0:
            stack.append(_opened(token))
        elif token.nesting < 0:
            node = stack.pop()
            stack[-1] += node[1:] if node[0] == "tight" else [node]
        else:
            stack[-1].append(_leaf(token))


def _opened(token: Token) -> list[Node]:
    name = _NAMES.get(token.type.removesuffix("_open"), "p")
    if name == "p" and token.hidden:
        return ["tight"]  # a paragraph of a tight list: its text belongs to the item itself
    if name == "ol" and "start" in token.attrs:
        return ["ol", {"start": int(token.attrs["start"])}]
    if name == "heading":
        return ["heading", {"level": int(token.tag[1:])}]
    return [name]


def _leaf(token: Token) -> Node:
    if token.type in ("softbreak", "hardbreak"):
        return ["br"]
    if token.type == "hr":
        return ["hr"]
    if token.type == "code_inline":
        return ["code", token.content]
    if token.type == "fence" and token.info.strip():
        return ["pre", ["language", token.info.strip()], token.content]
    if token.type in ("fence", "code_block"):
        return ["pre", token.content]
    return token.content


def _strings(node: Node) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for child in node[1:]:
            yield from _strings(child)
