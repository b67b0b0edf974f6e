"""AlpacaFarm (2023) and AlpacaEval annotations: ``instruction``, ``input``, ``output_1``, ``output_2``.

``preference`` is 1 or 2 for the preferred output, anything between for a leaning (1.5 is a tie), 0 for a tie:
P(output 1 preferred) = 2 - preference. ``annotator`` (the name of an automatic annotator) makes an AI label;
``annotator_index`` numbers the human annotators of one row, so "alpaca-farm/0" is not one person. Read from
tatsu-lab/alpaca_farm (alpaca_human_preference and its simulated siblings, which look the same: name the
source of those yourself) and tatsu-lab/alpaca_eval (alpaca_farm_human_annotations, …_crossannotations).

Written rows lose: ids, tags, comments, names of human annotators. Conversations and unscored votes cannot be
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cai.human.exchange.fields import Row, has, number, optional, text
from cai.human.exchange.format import Format, Read, one, question_text, scored
from cai.human.pairs import Options, Vote
from cai.values.errors import ItemError
from cai.values.types import Message, Preference, Source


def read(row: Row, options: Options) -> Iterator[Read]:
    asked, extra = text(row, "instruction"), optional(row, "input")
    preference = number(row, "preference")
    if preference != 0 and not 1 <= preference <= 2:
        raise ItemError("label out of range", f"'preference' is {preference:g}; it must be 0 or from 1 to 2")
    yield Vote(
        (Message("user", f"{asked}\n\n{extra}" if extra else asked),),
        text(row, "output_1"),
        text(row, "output_2"),
        0.5 if preference == 0 else 2.0 - preference,
        _source(row, options),
        options.question,
        tags=options.tags,
    )


def _source(row: Row, options: Options) -> Source:
    name, index = optional(row, "annotator"), optional(row, "annotator_index")
    if name is not None:
        return Source("ai", name)
    return options.by("alpaca-farm" if index is None else f"alpaca-farm/{index}")


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    vote = one(votes)
    row = {
        "instruction": question_text(vote.comparison.prompt.messages),
        "input": "",
        "output_1": vote.comparison.a,
        "output_2": vote.comparison.b,
        "preference": 2.0 - scored(vote),
    }
    return row | ({"annotator": vote.source.name} if vote.source.kind == "ai" else {})


FORMAT = Format(
    "alpaca-farm",
    "instruction, output_1, output_2 and preference",
    lambda row: has(row, "instruction", "output_1", "output_2", "preference"),
    read,
    write=write,
    loses="ids, tags, comments, names of human annotators, unscored votes, conversations",
)
