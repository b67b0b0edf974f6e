"""Plain tables: csv, jsonl and spreadsheets with one vote a row, under any column names.

``--columns prompt=question,a=answer1,b=answer2,preferred=label`` names the file's columns for ours:

    prompt       the question, as text or as a list of turns
    messages     instead of prompt: the turns as JSON, for tables that hold text only
    a, b         the two responses; or chosen, rejected
    preferred    who won, in words or as a code: see below
    p            instead of preferred: P(a preferred), a number from 0 to 1
    annotator    who voted
    id           the vote's own id
    comment, weight, tags (separated by commas)

Without ``--columns`` these names and the usual others are looked for: the questions of ``data/asked.py``, the
pairs of ``names.py``, ``winner`` or ``choice`` for preferred, the annotators of ``voters.py``. A
``question_id`` is not a vote's id, and an ``id`` that two annotators share is not either. Whether ``a`` was
shown first is not known.

What the verdicts mean is decided over the whole file (``data/verdicts.py``) and shown where it is not plain;
0 and 1 can be read in two ways and are asked for (``--coding 0=a,1=b``). The text or the column's name of the
preferred answer is a verdict too.

Rows are written with the columns above and comparison_id, prompt_id, tags (as JSON), source ("human" or
"ai") and unscored, which makes them exact but for the per-order judgements behind an AI label. In csv, cells
that a spreadsheet would run as a formula have an apostrophe before them, which the import takes away again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from cai.data import asked as asking
from cai.data.chosen import answer, chosen_rejected, value
from cai.data.turns import conversation, listed, prompt, shown, spelt
from cai.data.verdicts import SIDES, Side, Verdict, coding_of, key, verdict
from cai.human.exchange.cells import plain
from cai.human.exchange.fields import Row, has, optional, probability, text, texts, weight
from cai.human.exchange.format import Format, Read, one, word
from cai.human.exchange.formats.names import PAIRS
from cai.human.exchange.voters import PEOPLE, voter
from cai.human.pairs import Options, Vote
from cai.values.errors import ItemError
from cai.values.types import Comparison, Conversation, Message, Preference, Prompt, Source, as_messages
from cai.values.words import did_you_mean

_EXACT = ("comparison_id", "prompt_id", "a", "b", "source", "annotator", "unscored", "messages")


_MOST_TOLD = 12  # readings of words that are shown
CELLS = (".csv", ".tsv", ".xlsx")  # files in which cai makes formulas harmless
PREFERRED = (
    "preferred",
    "preference",
    "winner",
    "choice",
    "verdict",
    "comparison",
    "label",
    "labels",
    "better",
    "best",
    "selected",
    "preferred_response",
    "preferred_answer",
    "vote",
)


def fits(row: Row) -> bool:
    question = "prompt" in row or "messages" in row
    labelled = "preferred" in row or "p" in row
    return question and has(row, "a", "b") and labelled and not has(row, "prompt_id", "judgements")


def near(row: Row) -> bool:
    """Whether the columns can be told under the names that others use."""
    question = any(name in row for name in asking.NAMES)
    return question and _pair(row) is not None and ("p" in row or _column(row, {}) is not None)


def _pair(row: Row) -> tuple[str, str] | None:
    return next((names for names in PAIRS if names[0] in row and names[1] in row), None)


def _column(row: Row, columns: Mapping[str, str]) -> str | None:
    """The column of verdicts."""
    return columns.get("preferred") or next((name for name in PREFERRED if name in row), None)


def _sides(row: Row, columns: Mapping[str, str]) -> tuple[str, str]:
    return (columns["a"], columns["b"]) if "a" in columns else (_pair(row) or ("a", "b"))


def learn(spec: str, rows: Iterable[Row], options: Options) -> tuple[Options, list[str]]:
    """The options with what every verdict of the column means, and lines that say so where it is not plain.

    Raises:
        FileError: numbers that can be read in more than one way.
    """
    options = replace(options, cells=Path(spec.lower().removesuffix(".gz")).suffix in CELLS)
    if "chosen" in options.columns:
        return options, []
    column, names, p = "preferred", ("a", "b"), options.columns.get("p", "p")

    def cells() -> Iterator[Any]:
        nonlocal column, names
        for row in rows:
            if (found := _column(row, options.columns)) is not None and row.get(p) in (None, ""):
                column, names = found, _sides(row, options.columns)
                yield row.get(found)

    # The names of the two sides are those of the first row that has them.
    first = next(iter(given := cells()), None)
    coding = coding_of(spec, column, chain([first], given), names, options.coding)
    told = [f"'{word}' = {side}" for word, side in coding.items() if word not in (*SIDES, *map(key, names))]
    more = f" and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    said = [f"in '{column}', {', '.join(told[:_MOST_TOLD])}{more}"] if told else []
    return replace(options, coding=coding), said


def read(row: Row, options: Options) -> Iterator[Read]:
    if not options.columns and has(row, *_EXACT):
        yield _exact({name: plain(cell) for name, cell in row.items()} if options.cells else row)
        return
    columns = options.columns
    _require(row, columns)
    named_winner = "chosen" in columns or (_pair(row) is None and "a" not in columns and "chosen" in row)
    names = ("chosen", "rejected") if named_winner else _sides(row, columns)
    if named_winner:
        messages, first, second = chosen_rejected(_renamed(row, columns))
    else:
        first, second = (_answer(row, columns.get(name, name)) for name in names)
        messages = _messages(row, columns)
    own = {name: row.get(columns.get(name, name)) for name in ("p", "comment", "weight", "tags")}
    own["preferred"] = row.get(_column(row, columns) or "preferred")
    said = Verdict(1.0) if named_winner else _verdict(own, names, options.coding, (first, second))
    source = voter(row, options, "table", columns.get("annotator"))
    number = optional(row, columns.get("id", "id"))
    named = "annotator" in columns or any(row.get(name) for name in PEOPLE)
    yield Vote(
        messages,
        first,
        second,
        said.p,
        source,
        options.question,
        unscored=said.unscored,
        comment=optional(own, "comment"),
        key=f"{source.name}/{number}" if number and named else number,
        tags=tuple(dict.fromkeys((*_tags(own), *options.tags))),
    )


def _require(row: Row, columns: Mapping[str, str]) -> None:
    """Raise ItemError unless every column that the user named is in the row."""
    for name, column in columns.items():
        if column not in row:
            hint = did_you_mean(column, map(str, row))
            raise ItemError("missing column", f"no '{column}' (for {name}){hint}")


def _tags(row: Row) -> tuple[str, ...]:
    if isinstance(row.get("tags"), list):
        return texts(row, "tags")
    parts = (optional(row, "tags") or "").split(",")
    return tuple(tag.strip() for tag in parts if tag.strip())


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """The row with prompt, chosen and rejected under these names."""
    ours = {name: row[columns[name]] for name in ("prompt", "chosen", "rejected") if name in columns}
    if "messages" in columns:
        ours["prompt"] = row[columns["messages"]]
    return {**row, **ours}


def _answer(row: Row, column: str) -> str:
    """A response: text, or the one turn of the assistant that a cell holds."""
    found = spelt(value(row, column))
    if isinstance(found, str):
        return found
    if not isinstance(found, list) or not found or not isinstance(found[0], Mapping):
        raise ItemError("not text", f"'{column}' is {shown(found)}")
    return answer(conversation(found, f"'{column}'"), column)


def _messages(row: Row, columns: Mapping[str, str]) -> Conversation:
    """What was asked: in the column that the user names, else in a known one."""
    for name in ("messages", "prompt"):
        if name in columns:
            return prompt(value(row, columns[name]), f"'{columns[name]}'")
    if row.get("messages") not in (None, ""):
        return conversation(row["messages"], "'messages'")
    found = asking.asked(row)
    if found is None:
        return prompt(value(row, asking.empty(row) or "prompt"))
    return found


def _verdict(
    row: Row, names: tuple[str, str], coding: Mapping[str, Side], texts: tuple[str, str] | None = None
) -> Verdict:
    said, cell = None, row.get("preferred")
    if cell not in (None, ""):
        if texts is not None and cell in texts and texts[0] != texts[1] and key(cell) not in SIDES:
            said = Verdict(float(cell == texts[0]))
        else:
            said = verdict(cell, "'preferred'", names, coding)
    if row.get("p") not in (None, ""):
        p = probability(row, "p")
        if said is not None and (said.p is None or (p - 0.5) * (said.p - 0.5) < 0):
            raise ItemError("label contradicts itself", f"'p' is {p:g}, 'preferred' is {row['preferred']}")
        return Verdict(p)
    if said is None:
        raise ItemError("no label", "'preferred' and 'p' are empty")
    return said


def prompt_in(row: Row) -> Conversation:
    """The prompt of a row that cai wrote: its text is text, whatever it looks like."""
    if row.get("messages") not in (None, ""):
        return conversation(row["messages"], "'messages'")
    return (Message("user", text(row, "prompt")),)


def _exact(row: Row) -> Preference:
    """A row that cai wrote, as it was."""
    tags = listed(row.get("tags") or [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ItemError("not a list of texts", f"'tags' is {row['tags']}")
    if row["source"] not in ("human", "ai"):
        raise ItemError("not a source", f"'source' is {row['source']}; it must be human or ai")
    unscored = optional(row, "unscored")
    said = Verdict(None, unscored) if unscored else _verdict(row, ("a", "b"), {})
    turns = prompt_in(row)
    asked = Prompt(text(row, "prompt_id"), turns, tuple(tags))
    return Preference(
        Comparison(text(row, "comparison_id"), asked, text(row, "a"), text(row, "b")),
        said.p,
        Source(row["source"], text(row, "annotator")),
        unscored=said.unscored,
        raw=optional(row, "comment"),
        weight=weight(row),
    )


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    vote = one(votes)
    comparison, messages = vote.comparison, vote.comparison.prompt.messages
    simple = len(messages) == 1 and messages[0].role == "user" and messages[0].content != ""
    row: Mapping[str, Any] = {
        "prompt": messages[0].content if simple else "",
        "messages": "" if simple else json.dumps(as_messages(messages), ensure_ascii=False),
        "a": comparison.a,
        "b": comparison.b,
        "preferred": word(vote) if vote.p is not None else "",
        "p": vote.p,
        "source": vote.source.kind,
        "annotator": vote.source.name,
        "unscored": vote.unscored or "",
        "comment": vote.raw or "",
        "weight": vote.weight,
        "comparison_id": comparison.id,
        "prompt_id": comparison.prompt.id,
        "tags": json.dumps(list(comparison.prompt.tags), ensure_ascii=False),
    }
    return dict(row)


FORMAT = Format(
    "table",
    "prompt, a, b and preferred or p; other names with --columns prompt=…,a=…,b=…,preferred=…",
    fits,
    read,
    near=near,
    learn=learn,
    write=write,
    files=(".csv", ".jsonl", ".json", ".parquet"),
    loses="the judgements behind a label",
)
