"""TRL unpaired preference (TRL 1.16): ``prompt``, ``completion``, ``label`` (true for a good completion).

A label about one completion compares nothing. Within one prompt, though, a good completion was preferred to
a bad one, so the i-th good and the i-th bad one make a pair (the shorter list is gone through again), and
every row is in at least one pair. Rows whose prompt has no row of the other label are rejected. The rows
are kept in memory until the end of the file, because a prompt's rows need not stand together.

Not written: a preference says nothing about whether each response is good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cai.data.chosen import value
from cai.data.turns import conversation, prompt, shown, spelt
from cai.human.exchange.fields import Row, has
from cai.human.exchange.format import Format, Numbered, Read
from cai.human.pairs import Options, Refusal, Vote
from cai.values.errors import ItemError
from cai.values.types import Conversation


@dataclass(slots=True)
class _Answers:
    """The completions of one prompt, each with its row."""

    good: list[tuple[int, str]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)


def fits(row: Row) -> bool:
    return has(row, "prompt", "completion", "label")


def gather(rows: Iterator[Numbered], options: Options) -> Iterator[tuple[tuple[int, ...], Read]]:
    prompts: dict[Conversation, _Answers] = {}
    for number, row in rows:
        try:
            messages, completion, good = _parse(row)
        except ItemError as error:
            yield (number,), Refusal.of(error)
            continue
        found = prompts.setdefault(messages, _Answers())
        (found.good if good else found.bad).append((number, completion))
    for messages, found in prompts.items():
        yield from _pairs(messages, found, options)


def _pairs(
    messages: Conversation, found: _Answers, options: Options
) -> Iterator[tuple[tuple[int, ...], Read]]:
    if not found.good or not found.bad:
        missing = "a bad" if found.good else "a good"
        for number, _ in [*found.good, *found.bad]:
            yield (number,), Refusal("no counterpart", f"no other row has {missing} answer to its prompt")
        return
    for index in range(max(len(found.good), len(found.bad))):
        (one, good), (other, bad) = (
            found.good[index % len(found.good)],
            found.bad[index % len(found.bad)],
        )
        source = options.by("trl-unpaired")
        vote = Vote(messages, good, bad, 1.0, source, options.question, tags=options.tags)
        yield (one, other), vote


def _parse(row: Row) -> tuple[Conversation, str, bool]:
    completion, label = value(row, "completion"), value(row, "label")
    if not isinstance(completion := spelt(completion), str):
        turns = conversation(completion, "'completion'")
        if len(turns) != 1 or turns[0].role != "assistant":
            raise ItemError("not an answer", "'completion' holds one turn of the assistant")
        completion = turns[0].content
    words = {"true": True, "false": False, "1": True, "0": False}
    good = words.get(str(label).strip().casefold()) if isinstance(label, bool | int | str) else None
    if good is None:
        raise ItemError("label out of range", f"'label' is {shown(label)}; it must be true or false")
    return prompt(value(row, "prompt")), completion, good


FORMAT = Format("trl-unpaired", "prompt, completion and label", fits, gather=gather)
