"""Plain tables: csv, jsonl and spreadsheets with one vote a row, under any column names.

``--columns prompt=question,a=answer1,b=answer2,preferred=label`` names the file's columns for ours:

    prompt       the question, as text or as a list of turns
    messages     instead of prompt: the turns as JSON, for tables that hold text only
    a, b         the two responses; or chosen, rejected
    preferred    a, b, tie or both_bad; 1 or 2; or the name of the preferred column. Not 0/1, which some files
                 count from nought and others mean as "b was worse"
    p            instead of preferred: P(a preferred), a number from 0 to 1
    annotator    who voted
    id           the vote's own id
    comment, weight, tags (separated by commas)

Without ``--columns`` these names themselves are looked for. Whether ``a`` was shown first is not known.

Rows are written with the columns above and comparison_id, prompt_id, tags (as JSON), source ("human" or
"ai") and unscored, which makes them exact but for the per-order judgements behind an AI label.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cai.human.exchange.fields import (
    Row,
    Verdict,
    conversation,
    from_json,
    has,
    optional,
    probability,
    prompt,
    text,
    texts,
    value,
    verdict,
    weight,
)
from cai.human.exchange.format import Format, Read, one, word
from cai.human.pairs import Options, Vote
from cai.values.errors import ItemError, UsageError
from cai.values.types import Comparison, Conversation, Preference, Prompt, Source, as_messages
from cai.values.words import did_you_mean, one_of

NAMES = (
    "prompt",
    "messages",
    "a",
    "b",
    "chosen",
    "rejected",
    "preferred",
    "p",
    "annotator",
    "id",
    "comment",
    "weight",
    "tags",
)
_EXACT = ("comparison_id", "prompt_id", "a", "b", "source", "annotator", "unscored", "messages")


def parse_columns(spec: str) -> dict[str, str]:
    """``prompt=question,a=answer1,…`` as a mapping.

    Raises:
        UsageError: not of that form, an unknown name, a name given twice, or no pair or no label in it.
    """
    columns: dict[str, str] = {}
    for part in spec.split(","):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            raise UsageError(f"--columns {spec}: '{part.strip()}' is not name=column")
        if name not in NAMES:
            hint = f"{did_you_mean(name, NAMES)}; known are {one_of(NAMES, 'and')}"
            raise UsageError(f"--columns {spec}: unknown name '{name}'{hint}")
        if name in columns:
            raise UsageError(f"--columns {spec}: '{name}' is given twice")
        columns[name] = column
    if not ({"a", "b"} <= columns.keys() or {"chosen", "rejected"} <= columns.keys()):
        raise UsageError(f"--columns {spec}: say which columns are a and b, or chosen and rejected")
    if "a" in columns and not {"preferred", "p"} & columns.keys():
        raise UsageError(f"--columns {spec}: say which column is preferred (a, b, tie) or p (a probability)")
    return columns


def fits(row: Row) -> bool:
    asked = "prompt" in row or "messages" in row
    labelled = "preferred" in row or "p" in row
    return asked and has(row, "a", "b") and labelled and not has(row, "prompt_id", "judgements")


def read(row: Row, options: Options) -> Iterator[Read]:
    if not options.columns and has(row, *_EXACT):
        yield _exact(row)
        return
    columns = options.columns or {name: name for name in NAMES}
    names = ("chosen", "rejected") if "chosen" in options.columns else ("a", "b")
    _require(row, options.columns)
    row = {name: row[column] for name, column in columns.items() if column in row}
    said = Verdict(1.0) if names[0] == "chosen" else _verdict(row, (columns["a"], columns["b"]))
    annotator = optional(row, "annotator")
    yield Vote(
        _messages(row),
        text(row, names[0]),
        text(row, names[1]),
        said.p,
        Source("human", annotator) if annotator else options.by("table"),
        options.question,
        unscored=said.unscored,
        comment=optional(row, "comment"),
        key=optional(row, "id"),
        tags=tuple(dict.fromkeys((*_tags(row), *options.tags))),
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


def _messages(row: Row) -> Conversation:
    if row.get("messages") not in (None, ""):
        found = row["messages"]
        return conversation(from_json(found, "'messages'") if isinstance(found, str) else found, "'messages'")
    return prompt(value(row, "prompt"))


def _verdict(row: Row, names: tuple[str, str]) -> Verdict:
    said = None
    if row.get("preferred") not in (None, ""):
        said = verdict(row["preferred"], "'preferred'", names)
    if row.get("p") not in (None, ""):
        p = probability(row, "p")
        if said is not None and (said.p is None or (p - 0.5) * (said.p - 0.5) < 0):
            raise ItemError("label contradicts itself", f"'p' is {p:g}, 'preferred' is {row['preferred']}")
        return Verdict(p)
    if said is None:
        raise ItemError("no label", "'preferred' and 'p' are empty")
    return said


def _exact(row: Row) -> Preference:
    """A row that cai wrote, as it was."""
    tags = from_json(text(row, "tags"), "'tags'") if row.get("tags") else []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ItemError("not a list of texts", f"'tags' is {row['tags']}")
    if row["source"] not in ("human", "ai"):
        raise ItemError("not a source", f"'source' is {row['source']}; it must be human or ai")
    unscored = optional(row, "unscored")
    said = Verdict(None, unscored) if unscored else _verdict(row, ("a", "b"))
    asked = Prompt(text(row, "prompt_id"), _messages(row), tuple(tags))
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
    write=write,
    files=(".csv", ".jsonl", ".json", ".parquet"),
    loses="the judgements behind a label",
)
