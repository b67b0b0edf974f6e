"""Labelled pairs of responses, from the rows that preference files have.

    {prompt, a, b, p}           p is P(a preferred), as in a run's data/preferences.parquet
    {prompt, a, b, preferred}   a, b or tie, in any words that ``data/verdicts.py`` knows
    {prompt, chosen, rejected}  answers or whole conversations, in all the ways that ``data/chosen.py`` reads
    {prompt, chosen: [x], rejected: [x, y, z]}  one against several: a pair of each

The rows are those of ``cai import``, and the same question is asked. What only that command reads (the files
of annotation tools and of single datasets, codes like 0 and 1) goes through it first: ``cai import FILE --to
votes.jsonl``, whose rows are of the first form.

Optional: ``subset``, ``category`` (text) or ``tags`` (list) name the parts that a figure is given for,
``prompt_id`` the prompt, ``p_chosen`` how sure the label is. Where a file names the better response, which
one becomes ``a`` is drawn from the row's number: a model that likes the first one gains nothing by it. Who
voted is not read (``cai import`` reads annotators).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cai.data.asked import asked
from cai.data.chosen import Shown, chosen_rejected, spread
from cai.data.turns import prompt
from cai.data.verdicts import verdict
from cai.run.journal import derive_seed, digest
from cai.values.errors import ItemError
from cai.values.types import Comparison, Conversation, Prompt, as_messages
from cai.values.words import excerpt

Row = Mapping[str, Any]
NEEDED = "preference pairs: prompt, chosen and rejected, or prompt, a, b and p (P of a)"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two different responses and the label's P(a preferred); ``parts`` are its categories."""

    comparison: Comparison
    p: float
    parts: tuple[str, ...] = ()

    @property
    def lengths(self) -> tuple[int, int]:
        """Characters of ``a`` and ``b``."""
        return len(self.comparison.a), len(self.comparison.b)


def pairs_from(number: int, row: Row) -> list[Pair]:
    """The pairs of a row of a preference file: one, or one against several.

    Raises:
        ItemError: columns are missing or odd, a response is empty, or the two are the same.
    """
    rows = spread(row)
    return [pair_from(number, one, part) for part, one in enumerate(rows)]


def pair_from(number: int, row: Row, part: int = 0) -> Pair:
    """A row of a preference file that holds a single pair; ``part`` counts the pairs of one row.

    Raises:
        ItemError: columns are missing or odd, a response is empty, or the two are the same.
    """
    if "a" in row and "b" in row and ("p" in row or "preferred" in row or "chosen" not in row):
        question = asked(row)
        if question is None:
            raise ItemError(
                "no prompt", f"no column of prompts among {excerpt(', '.join(map(str, row)), 80)}"
            )
        return build(number, row, (question, text(row, "a"), text(row, "b")), _p(row), part)
    if "chosen" not in row or "rejected" not in row:
        columns = excerpt(", ".join(map(str, row)), 80)
        raise ItemError(
            "missing column",
            f"needed are chosen and rejected, or prompt, a, b and p (cai import FILE --to votes.jsonl "
            f"makes these of other files): {columns}",
        )
    p = share(row, "p_chosen") if row.get("p_chosen") not in (None, "") else 1.0
    return sided(number, row, chosen_rejected(row), p, part)


def _p(row: Row) -> float:
    """P(a preferred), as a number or from the verdict in words."""
    if row.get("p") not in (None, "") or row.get("preferred") in (None, ""):
        return share(row, "p")
    said = verdict(row["preferred"], "'preferred'", coding={})
    if said.p is None:
        raise ItemError("no label", said.unscored or "")
    return said.p


def sided(number: int, row: Row, shown: Shown, p: float = 1.0, part: int = 0) -> Pair:
    """``build``, of a row that names the better answer: it becomes ``a`` or ``b`` by the row's number."""
    pair = build(number, row, shown, p, part)
    if (derive_seed("side", number, part) if part else derive_seed("side", number)) % 2:
        return pair
    return Pair(pair.comparison.swap(), 1.0 - p, pair.parts)


def build(number: int, row: Row, shown: Shown, p: float, part: int = 0) -> Pair:
    """The pair of ``shown`` with P(its first answer preferred); its other columns are read from the row.

    Raises:
        ItemError: nobody can judge it: no prompt, an empty answer, or the same answer twice.
    """
    question, a, b = shown[0], shown[1].strip(), shown[2].strip()
    if question[-1].role != "user" or not question[-1].content.strip():
        raise ItemError("no prompt", "the conversation before the responses must end with the user's turn")
    if not a or not b:
        raise ItemError("empty response", "both responses must hold text")
    if a == b:
        raise ItemError("identical responses", excerpt(a))
    own, found = row.get("prompt_id"), parts(row)
    name = own if isinstance(own, str) and own else digest(as_messages(question))[:16]
    key = f"row-{number}-{part + 1}" if part else f"row-{number}"
    return Pair(Comparison(key, Prompt(name, question, found), a, b), p, found)


def turns(value: Any, what: str) -> Conversation:
    """A text (one user turn, or a dialogue) or a list of turns, as ``cai import`` reads them.

    Raises:
        ItemError: it is neither, or empty.
    """
    return prompt(value, what)


def text(row: Row, column: str) -> str:
    """Raises ItemError where the column is missing or holds no text."""
    if column not in row:
        raise ItemError("missing column", f"no '{column}'; there are {excerpt(', '.join(map(str, row)), 80)}")
    found = row[column]
    if not isinstance(found, str):
        raise ItemError("not text", f"'{column}' is {excerpt(ascii(found), 40)}")
    return found


def share(row: Row, column: str) -> float:
    """A number in [0, 1], also where it is written as text; an empty cell is an unscored pair."""
    found = row.get(column)
    if found is None or found == "":
        raise ItemError("no label", f"'{column}' is missing or empty")
    try:
        value = math.nan if isinstance(found, bool) else float(found)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise ItemError("label out of range", f"'{column}' is {excerpt(ascii(found), 40)}; it lies in [0, 1]")
    return value


def parts(row: Row) -> tuple[str, ...]:
    """``subset``, ``category`` or ``tags``: the first that holds a text or a list of texts."""
    for column in ("subset", "category", "tags"):
        found = row.get(column)
        names = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        kept = tuple(dict.fromkeys(name.strip() for name in names if isinstance(name, str) and name.strip()))
        if kept:
            return kept
    return ()
