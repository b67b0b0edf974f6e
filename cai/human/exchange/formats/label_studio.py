"""Label Studio, pairwise: the JSON export of a project with a ``Pairwise`` control (Label Studio 1.x).

A task holds ``data`` (prompt and two answers) and ``annotations``, one per annotator, each with ``id``,
``completed_by`` (a number, or an object with ``email``), ``was_cancelled`` and ``result``: an item of type
"pairwise" with ``value.selected`` "left" or "right" is the verdict, whatever else was asked beside it. Where
an annotation has none, a ``Choices`` control may say it ("tie", "both_bad", a side): the one that
``--columns preferred=…`` names, that bears a name of a verdict, or the only control of a project that has no
pairwise one anywhere. The text of a ``TextArea`` is the comment. Skipped annotations are refused, and so are
predictions: they are a model's. The left answer was seen first.

The names in ``data`` are the project's own: ``prompt`` (or instruction, question) with ``answer1`` and
``answer2`` (or response1, response_a, text1 … and their partners) are known; others are named with
``--columns prompt=…,a=…,b=…``. A prompt may be text or a list of turns.

Rows are written as tasks with their annotations, and lose: how strong the preference is. AI labels and other
unscored votes than "both bad" cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cai.data.chosen import value
from cai.data.turns import shown
from cai.data.verdicts import Verdict, coding_of, verdict
from cai.human.exchange.fields import Row, has, items, optional, table, text, texts
from cai.human.exchange.format import Format, Read, first_name, human, in_order, word
from cai.human.exchange.formats.names import identity, pair_columns, prompt_of, prompt_value
from cai.human.pairs import Identity, Options, Refusal, Vote, fingerprint
from cai.values.errors import ItemError
from cai.values.types import Preference, Source
from cai.values.words import excerpt


def fits(row: Row) -> bool:
    return isinstance(row.get("data"), Mapping) and isinstance(row.get("annotations"), list)


VERDICTS = ("verdict", "preference", "preferred", "choice", "label", "winner", "comparison", "overall")


def learn(spec: str, rows: Iterable[Row], options: Options) -> tuple[Options, list[str]]:
    """The options with the Choices control that is the verdict of a project without a pairwise one.

    Raises:
        FileError: its choices are numbers that can be read in more than one way.
    """
    controls: dict[str, list[Any]] = {}
    pairwise = False
    for result in _results(rows):
        if result.get("type") == "pairwise":
            pairwise = True
        elif result.get("type") == "choices" and isinstance(result.get("from_name"), str):
            held = result.get("value")
            said = held.get("choices") if isinstance(held, Mapping) else None
            if isinstance(said, list):
                controls.setdefault(result["from_name"], []).extend(said[:1])
    named = options.columns.get("preferred") or next((name for name in VERDICTS if name in controls), None)
    if named is None and not pairwise and len(controls) == 1:
        (named,) = controls
    if named is None:
        return options, []
    coding = coding_of(spec, named, controls.get(named, []), ("left", "right"), options.coding)
    told = [f"the verdict is '{named}'"] if named not in VERDICTS else []
    return replace(options, coding=coding, columns={**options.columns, "preferred": named}), told


def _results(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        found = row.get("annotations")
        for annotation in found if isinstance(found, list) else []:
            results = annotation.get("result") if isinstance(annotation, Mapping) else None
            yield from (
                (r for r in results or () if isinstance(r, Mapping)) if isinstance(results, list) else ()
            )


def read(row: Row, options: Options) -> Iterator[Read]:
    data = table(row, "data")
    asked, first, second = pair_columns(data, options.columns)
    known = identity(data)
    pair = prompt_of(value(data, asked), known), text(data, first), text(data, second)
    annotations = items(row, "annotations")
    if not annotations:
        raise ItemError("no vote", "nobody has annotated this task")
    for index, annotation in enumerate(annotations, 1):
        part = f"annotation {index}"
        try:
            if not isinstance(annotation, Mapping):
                raise ItemError("not an object", shown(annotation))
            yield _vote(annotation, pair, known, texts(data, "tags"), options)
        except ItemError as error:
            yield Refusal.of(error, part)


def _vote(
    annotation: Row,
    pair: tuple[Any, str, str],
    known: Identity | None,
    tags: tuple[str, ...],
    options: Options,
) -> Vote:
    if annotation.get("was_cancelled"):
        raise ItemError("skipped", "the annotator skipped the task")
    said, comment = _result(items(annotation, "result"), options)
    annotator = _annotator(annotation)
    return Vote(
        *pair,
        said.p,
        Source("human", annotator) if annotator else options.by("label-studio"),
        options.question,
        shown=True,
        unscored=said.unscored,
        comment=comment,
        key=optional(annotation, "id"),
        tags=tuple(dict.fromkeys((*tags, *options.tags))),
        identity=known,
    )


def _result(results: list[Any], options: Options) -> tuple[Verdict, str | None]:
    """The choice and the comment among the controls of a project."""
    pairwise, chosen, comment = None, None, None
    others: list[str] = []
    for result in results:
        held = result.get("value") if isinstance(result, Mapping) else None
        if not isinstance(held, Mapping):
            raise ItemError("not an object", f"a result is {shown(result)}")
        if result.get("type") == "pairwise":
            pairwise = verdict(value(held, "selected"), "'selected'", ("left", "right"))
        elif result.get("type") == "choices" and (choices := texts(held, "choices")):
            name = result.get("from_name")
            if name is None or name == options.columns.get("preferred"):
                chosen = verdict(choices[0], "'choices'", ("left", "right"), options.coding)
            else:
                others.append(str(name))
        elif result.get("type") == "textarea" and (written := texts(held, "text")):
            comment = "\n".join(written)
    said = pairwise or chosen
    if said is None and others:
        there = excerpt(", ".join(others), 60)
        raise ItemError(
            "no label", f"no side was picked; is it the answer to {there}? Say --columns preferred=…"
        )
    if said is None:
        raise ItemError("no label", "no 'pairwise' or 'choices' result in the annotation")
    return said, comment


def _annotator(annotation: Row) -> str | None:
    by = annotation.get("completed_by")
    if isinstance(by, Mapping):
        return optional(by, "email") or optional(by, "username") or optional(by, "id")
    return optional(annotation, "completed_by")


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    first = in_order(votes[0]).comparison
    return {
        "data": {
            "prompt": prompt_value(first.prompt.messages),
            "answer1": first.a,
            "answer2": first.b,
            "comparison_id": first.id,
            "prompt_id": first.prompt.id,
            "first": first_name(votes[0]),
            "tags": list(first.prompt.tags),
        },
        "annotations": [_annotation(vote, index) for index, vote in enumerate(votes)],
    }


def _annotation(vote: Preference, index: int) -> dict[str, Any]:
    said = word(in_order(vote), "left", "right")
    sided = said in ("left", "right")
    results = [
        _result_item("comparison", "pairwise", {"selected": said})
        if sided
        else _result_item("verdict", "choices", {"choices": [said]})
    ]
    if vote.raw:
        results.append(_result_item("reason", "textarea", {"text": [vote.raw]}))
    return {
        "id": f"{fingerprint(vote)[:16]}-{first_name(vote)}{index}",  # an annotator may repeat a vote
        "completed_by": {"email": human(vote)},
        "was_cancelled": False,
        "result": results,
    }


def _result_item(control: str, kind: str, held: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": control, "to_name": "answer1,answer2", "type": kind, "value": held}


FORMAT = Format(
    "label-studio",
    "data and annotations (tasks of a JSON export)",
    lambda row: has(row, "data", "annotations") and fits(row),
    read,
    learn=learn,
    write=write,
    grouped=True,
    files=(".json", ".jsonl"),
    loses="strength, AI labels, unscored votes other than 'both bad'",
)
