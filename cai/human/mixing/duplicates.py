"""Texts that nearly repeat one another: candidates by MinHash, decided by the true similarity.

The similarity of two texts is the Jaccard index of their sets of three words in a row (Broder 1997), words
being lower-cased runs of letters and digits. At 0.9 a text of sixty words may differ in one or two of them;
two short texts that differ in one word are far apart. Texts of fewer than three words are compared whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"\w+")
_SHINGLE = 3
_PERMUTATIONS = 128

Shingles = frozenset[tuple[str, ...]]


def shingles(text: str) -> Shingles:
    """The sets of three words in a row; all words as one where there are fewer."""
    words = _WORD.findall(text.lower()) or [text.strip()]
    if len(words) < _SHINGLE:
        return frozenset({tuple(words)})
    return frozenset(tuple(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1))


def similarity(first: Shingles, second: Shingles) -> float:
    """Jaccard index: shared over all."""
    return len(first & second) / len(first | second)


def nearly_repeats(texts: Sequence[str], threshold: float) -> list[str | None]:
    """For each text the earlier one that it resembles by at least ``threshold``, None where there is none.

    A text that repeats another is not compared with later ones: chains of small steps do not pull far texts
    together.
    """
    index = _Index(threshold)
    found: list[str | None] = []
    for text in texts:
        found.append(index.like(text))
        if found[-1] is None:
            index.add(text)
    return found


def resembling(texts: Iterable[str], known: Iterable[str], threshold: float) -> set[str]:
    """Those of ``texts`` that resemble any of ``known`` by at least ``threshold``."""
    index = _Index(threshold)
    for text in known:
        index.add(text)
    return {text for text in texts if index.like(text) is not None}


class _Index:
    """Texts so far, by exact set and by MinHash."""

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHashLSH

        self._threshold = threshold
        # Candidates from well below the threshold: MinHash estimates with an error of about 0.09 at 128.
        self._lsh = MinHashLSH(threshold=max(0.1, threshold - 0.2), num_perm=_PERMUTATIONS)
        self._sets: list[Shingles] = []
        self._texts: list[str] = []
        self._exact: dict[Shingles, int] = {}

    def add(self, text: str) -> None:
        kept = shingles(text)
        if kept in self._exact:
            return
        number = len(self._sets)
        self._exact[kept] = number
        self._sets.append(kept)
        self._texts.append(text)
        self._lsh.insert(number, _minhash(kept))

    def like(self, text: str) -> str | None:
        """The first text that ``text`` resembles."""
        asked = shingles(text)
        if asked in self._exact:
            return self._texts[self._exact[asked]]
        if not self._sets:
            return None
        near = sorted(self._lsh.query(_minhash(asked)))
        match = next((n for n in near if similarity(asked, self._sets[n]) >= self._threshold), None)
        return None if match is None else self._texts[match]


def _minhash(kept: Iterable[tuple[str, ...]]) -> object:
    from datasketch import MinHash

    made = MinHash(num_perm=_PERMUTATIONS, seed=1)
    made.update_batch([" ".join(words).encode("utf-8", "surrogatepass") for words in kept])
    return made
