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
    codes = matcher.get_opcodes()
    for place, (kind, i, j, k, m) in enumerate(codes):
        old, new = "".join(left[i:j]), "".join(right[k:m])
        # A space or a comma between two changes is no common ground.
        bare = 0 < place < len(codes) - 1 and not any(letter.isalnum() for letter in old)
        runs.append((old, "", "") if kind == "equal" and not bare else ("", old, new))
    found: list[Piece] = []
    old = new = ""
    for common, removed, added in (*runs, ("end", "", "")):
        old, new = old + removed, new + added
        if common:
            found += [(sign, text) for sign, text in ((-1, old), (1, new)) if text]
            found.append((0, common))
            old = new = ""
    return found[:-1]
