"""What a revision changed, word by word, as pieces that hold both texts at once.

``pieces("a b", "a c")`` is ``[[0, "a "], [-1, "b"], [1, "c"]]``: 0 is common to both, -1 only in the first,
1 only in the second. Pieces ≤ 0 joined are the first text, pieces ≥ 0 the second, so a report need not store
the texts beside their difference.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

Piece = tuple[int, str]
_WORD = re.compile(r"\w+(?:['’]\w+)*|\s+|[^\w\s]")
ANCHORS = 400  # pieces; in longer texts frequent words are no anchors, which keeps the time in bounds


def pieces(first: str, second: str) -> list[Piece]:
    left, right = _WORD.findall(first), _WORD.findall(second)
    matcher = SequenceMatcher(None, left, right, autojunk=max(len(left), len(right)) > ANCHORS)
    runs: list[tuple[str, str, str]] = []  # common, only in the first, only in the second
    for kind, i, j, k, m in matcher.get_opcodes():
        old, new = "".join(left[i:j]), "".join(right[k:m])
        if kind != "equal":
            runs.append(("", old, new))
        elif old.strip() or not runs:
            runs.append((old, "", ""))
        else:  # a space between two changes is no common ground
            runs.append(("", old, new))
    found: list[Piece] = []
    old = new = ""
    for common, removed, added in (*runs, ("end", "", "")):
        old, new = old + removed, new + added
        if common:
            found += [(sign, text) for sign, text in ((-1, old), (1, new)) if text]
            found.append((0, common))
            old = new = ""
    return found[:-1]
