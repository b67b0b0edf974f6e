"""Argilla 2: records as ``dataset.records.to_json`` and ``to_list`` write them.

A record holds ``fields`` (prompt and two responses), ``responses`` (question → list of ``value`` and
``user_id``), ``metadata`` and ``id``. The verdict is the question "preference" (or choice, verdict, label; or
the only one), a LabelQuestion whose value names a side, a tie or both bad, or a RankingQuestion whose value
is the names of the two fields, the best first. A TextQuestion "reason" (or comment) is the comment.
Suggestions are not read: they are a model's; drafts and discarded responses are refused. The first field was
seen first.

The flat form (``to_datasets``, ``to_pandas``, the hub) is read as well: fields and metadata are columns,
and a question's are ``preference.responses``, ``preference.responses.users`` and
``preference.responses.status``, or, from Argilla 1, one column with a list of ``value``, ``user_id`` and
``status``.

Fields are named by each dataset: those that ``label_studio.py`` lists are known, others are named with
``--columns prompt=…,a=…,b=…,preferred=…``, where preferred is the question.

Rows are written with a text or chat field "prompt", "response_a", "response_b", and the question "preference"
with the labels a, b, tie and both_bad. They lose: how strong the preference is. AI labels and other unscored
votes than "both bad" cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from cai.data.chosen import value
from cai.data.turns import listed, shown
from cai.data.verdicts import Verdict, coding_of, verdict
from cai.human.exchange.fields import Row, items, optional, table, text, texts
from cai.human.exchange.format import Format, Read, first_name, human, in_order, word
from cai.human.exchange.formats.names import identity, pair_columns, prompt_of, prompt_value
from cai.human.pairs import Options, Refusal, Vote
from cai.values.errors import ItemError
from cai.values.types import Preference, Source
from cai.values.words import excerpt, one_of

_QUESTIONS = ("preference", "choice", "verdict", "label", "preferred")
_REASONS = ("reason", "comment")


_FLAT = ".responses"
_ABOUT = ("id", "_server_id", "status", "external_id", "metadata", "vectors")


def fits(row: Row) -> bool:
    nested = isinstance(row.get("fields"), Mapping) and isinstance(row.get("responses"), Mapping)
    return nested or bool(_flat_questions(row))


def _flat_questions(row: Row) -> list[str]:
    """The columns of a flat record that hold the responses to a question."""
    columns = [name for name in row if isinstance(name, str)]
    found = [name for name in columns if name.endswith(_FLAT)]
    return found or [name for name in columns if _is_responses(row[name])]


def _is_responses(cell: Any) -> bool:
    found = listed(cell)
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(one, Mapping) and {"value", "status"} <= one.keys() for one in found)
    )


def _nested(row: Row) -> Row:
    """A flat record with its fields and responses under these names; any other record as it is."""
    questions = [] if isinstance(row.get("responses"), Mapping) else _flat_questions(row)
    if not questions:
        return row
    told = [name.removesuffix(_FLAT) for name in questions]
    fields = {
        name: cell
        for name, cell in row.items()
        if name not in _ABOUT and not any(str(name).startswith((f"{q}.", f"{q}-")) or name == q for q in told)
    }
    responses = {question: _responses(row, name) for question, name in zip(told, questions, strict=True)}
    given = listed(row.get("metadata"))
    own = fields if not isinstance(given, Mapping) else {**fields, **given}
    return {"fields": fields, "responses": responses, "metadata": own}


def _responses(row: Row, column: str) -> list[Any]:
    found = listed(row[column])
    if not isinstance(found, list) or not column.endswith(_FLAT):
        return found if isinstance(found, list) else []
    users, status = listed(row.get(f"{column}.users")), listed(row.get(f"{column}.status"))
    return [
        {"value": said, "user_id": _place(users, index), "status": _place(status, index)}
        for index, said in enumerate(found)
    ]


def _place(found: Any, index: int) -> Any:
    return found[index] if isinstance(found, list) and index < len(found) else None


def learn(spec: str, rows: Iterable[Row], options: Options) -> tuple[Options, list[str]]:
    """The options with what the labels of the question mean.

    Raises:
        FileError: they are numbers that can be read in more than one way.
    """
    names, question = ("a", "b"), "preference"

    def labels() -> Iterator[Any]:
        nonlocal names, question
        for row in rows:
            try:
                record = _nested(row)
                question = _question(table(record, "responses"), options)
                _, *pair = pair_columns(table(record, "fields"), options.columns)
                names = (pair[0], pair[1])
                said = items(table(record, "responses"), question)
            except ItemError:
                continue
            yield from (one.get("value") for one in said if isinstance(one, Mapping))

    first = next(given := labels(), None)
    coding = coding_of(spec, question, chain([first], given), names, options.coding)
    return replace(options, coding=coding), []


def read(row: Row, options: Options) -> Iterator[Read]:
    row = _nested(row)
    fields, responses = table(row, "fields"), table(row, "responses")
    columns = pair_columns(fields, options.columns)
    asked, first, second = columns
    metadata = row.get("metadata") if isinstance(row.get("metadata"), Mapping) else {}
    known, reasons = identity(metadata or {}), _reasons(responses)
    pair = prompt_of(value(fields, asked), known), text(fields, first), text(fields, second)
    tags = tuple(dict.fromkeys((*texts(metadata or {}, "tags"), *options.tags)))
    for index, response in enumerate(items(responses, _question(responses, options)), 1):
        try:
            if not isinstance(response, Mapping):
                raise ItemError("not an object", shown(response))
            if response.get("status") not in (None, "submitted"):
                raise ItemError("not submitted", f"the response is {shown(response['status'])}")
            said = _verdict(value(response, "value"), (first, second), options)
            user = optional(response, "user_id")
            yield Vote(
                *pair,
                said.p,
                Source("human", user) if user else options.by("argilla"),
                options.question,
                shown=True,
                unscored=said.unscored,
                comment=reasons.get(user),
                tags=tags,
                identity=known,
            )
        except ItemError as error:
            yield Refusal.of(error, f"response {index}")


def _question(responses: Row, options: Options) -> str:
    if (named := options.columns.get("preferred")) is not None:
        return named
    for name in _QUESTIONS:
        if name in responses:
            return name
    others = [name for name in responses if name not in _REASONS]
    if not others:
        raise ItemError("no vote", "nobody has responded to this record")
    if len(others) > 1:
        there = excerpt(", ".join(map(str, others)), 60)
        raise ItemError("no label", f"which question is it: {there}? Say --columns preferred=…")
    return str(others[0])


def _verdict(said: Any, names: tuple[str, str], options: Options) -> Verdict:
    if isinstance(said, list) and said:
        ranked = [entry.get("value") if isinstance(entry, Mapping) else entry for entry in said]
        if sorted(map(str, ranked)) != sorted(names):
            raise ItemError(
                "label out of range", f"a ranking of {shown(said)}; it must rank {one_of(names, 'and')}"
            )
        ranks = [entry.get("rank") for entry in said if isinstance(entry, Mapping)]
        if len(ranks) == 2 and ranks[0] == ranks[1] is not None:
            return Verdict(0.5)
        if len(ranks) == 2 and all(isinstance(rank, int) for rank in ranks):
            ranked = [name for _, name in sorted(zip(ranks, ranked, strict=True))]
        said = ranked[0]
    return verdict(said, "'value'", names, options.coding or None)


def _reasons(responses: Row) -> dict[str | None, str]:
    """User → what they wrote."""
    found: dict[str | None, str] = {}
    for name in _REASONS:
        for response in responses.get(name) or () if isinstance(responses.get(name), list) else ():
            if isinstance(response, Mapping) and isinstance(response.get("value"), str):
                found[optional(response, "user_id")] = response["value"]
    return found


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    comparison = in_order(votes[0]).comparison
    responses: dict[str, list[dict[str, str]]] = {"preference": []}
    for vote in votes:
        name = human(vote)
        responses["preference"].append({"value": word(in_order(vote)), "user_id": name})
        if vote.raw:
            responses.setdefault("reason", []).append({"value": vote.raw, "user_id": name})
    first = first_name(votes[0])
    return {
        "id": f"{comparison.id}/{first}",
        "fields": {
            "prompt": prompt_value(comparison.prompt.messages),
            "response_a": comparison.a,
            "response_b": comparison.b,
        },
        "metadata": {
            "comparison_id": comparison.id,
            "prompt_id": comparison.prompt.id,
            "first": first,
            "tags": list(comparison.prompt.tags),
        },
        "suggestions": {},
        "responses": responses,
        "vectors": {},
    }


FORMAT = Format(
    "argilla",
    "fields and responses (records as to_json writes them), or a question's responses as columns",
    fits,
    read,
    learn=learn,
    write=write,
    grouped=True,
    files=(".json", ".jsonl"),
    loses="strength, AI labels, unscored votes other than 'both bad'",
)
