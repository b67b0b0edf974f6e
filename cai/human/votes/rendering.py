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
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

MAX_MARKDOWN = 50_000  # characters; what is longer is shown as it stands
MAX_BY_WORDS = 40_000  # characters of both texts
EXACT_DIFF = 4_000  # pieces; above, frequent ones are no anchors, which keeps the time in bounds

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
_WORDS = re.compile(r"\w+(?:['’]\w+)*|\s+|[^\w\s]")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")


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

    The pieces of a side joined are its text. Texts of very many words are compared by lines.
    """
    pieces = _WORDS if len(a) + len(b) <= MAX_BY_WORDS else _LINES
    left, right = pieces.findall(a), pieces.findall(b)
    matcher = SequenceMatcher(None, left, right, autojunk=max(len(left), len(right)) > EXACT_DIFF)
    runs = [
        _Run(kind != "equal", "".join(left[i:j]), "".join(right[k:m]))
        for kind, i, j, k, m in matcher.get_opcodes()
    ]
    for noise in (_is_bare, _is_island):
        runs = _merged([run._replace(differs=run.differs or noise(runs, i)) for i, run in enumerate(runs)])
    return (
        [[run.differs, run.left] for run in runs if run.left],
        [[run.differs, run.right] for run in runs if run.right],
    )


class _Run(NamedTuple):
    """A stretch of both texts that is common to them, or differs."""

    differs: bool
    left: str
    right: str


def _is_bare(runs: Sequence[_Run], index: int) -> bool:
    """Whether a run between two changes has no letter or digit: no common ground."""
    return 0 < index < len(runs) - 1 and not any(letter.isalnum() for letter in runs[index].left)


def _is_island(runs: Sequence[_Run], index: int) -> bool:
    """Whether a run is a single word between two long changes: common by chance, and noise to a reader."""
    if not 0 < index < len(runs) - 1 or len(runs[index].left.split()) != 1:
        return False
    around = (runs[index - 1], runs[index + 1])
    return all(max(len(run.left.split()), len(run.right.split())) >= 3 for run in around)


def _merged(runs: Sequence[_Run]) -> list[_Run]:
    merged: list[_Run] = []
    for run in runs:
        if merged and merged[-1].differs == run.differs:
            last = merged.pop()
            merged.append(_Run(run.differs, last.left + run.left, last.right + run.right))
        else:
            merged.append(run)
    return merged


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
        elif kind != "text" or token.content:
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
