"""TRL preference rows (TRL 1.16, "dataset formats"): ``chosen`` and ``rejected``, with or without ``prompt``.

Conversational (lists of turns) and standard (text), in all the ways that ``data/chosen.py`` reads. The
file's own question is the prompt, under any of the names in ``data/asked.py``; without one, the two hold
the whole conversation, as turns or as text with marks of turns. TRL's "implicit prompt" in plain text (the
words that the two begin with) is refused: any two answers may begin alike. A prompt in text beside whole
conversations is a copy and is not read. Lists of several chosen or rejected texts (RewardBench 2) are a
vote for every pair. ``p_chosen`` is read where it stands, else P = 1; annotators as ``voters.py`` says;
``margin`` and other columns are not read. OpenAI's preference files (``input``, ``preferred_output``,
``non_preferred_output``) and the other names in WINNERS are the same.

Written rows are conversational with an explicit prompt, ``p_chosen``, and columns that TRL passes over: ids,
which response of the comparison is the chosen one (``first``) and P of its ``a`` (``p_a``), tags, source,
judgements, comment, weight.
Nothing of a scored vote is lost; unscored votes are left out, since TRL has no place for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cai.data.chosen import chosen_rejected, spread
from cai.data.tables import judgement_row
from cai.data.turns import shown
from cai.human.exchange.fields import Row, has, items, optional, probability, table, text, texts, weight
from cai.human.exchange.format import Format, Read, one, winner_first
from cai.human.exchange.formats import hh_rlhf
from cai.human.exchange.voters import voter
from cai.human.pairs import Options, Vote
from cai.values.errors import ItemError
from cai.values.types import (
    Comparison,
    Conversation,
    Judgement,
    Preference,
    Prompt,
    Reading,
    Source,
    Votes,
    as_messages,
)

SCORES = (("score_chosen", "score_rejected"), ("chosen-rating", "rejected-rating"))
_OURS = ("comparison_id", "prompt_id", "first", "p_a", "source", "judgements")


WINNERS = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("response_j", "response_k"),
    ("better", "worse"),
    ("accepted", "rejected"),
)


def fits(row: Row) -> bool:
    names = _names(row)
    if names is None or hh_rlhf.fits(row) or has(row, "a", "b", "p", "source"):
        return False
    return not any(has(row, *columns) for columns in SCORES)


def _names(row: Row) -> tuple[str, str] | None:
    return next((names for names in WINNERS if has(row, *names)), None)


def read(row: Row, options: Options) -> Iterator[Read]:
    if has(row, *_OURS):
        messages, chosen, rejected = pair(row)
        yield _exact(row, messages, (chosen, rejected))
        return
    names = _names(row) or WINNERS[0]
    plain = {**row, "chosen": row.get(names[0]), "rejected": row.get(names[1])} if _names(row) else row
    pairs = [chosen_rejected(single) for single in spread(plain)[: options.pairs]]
    p = probability(row, "p_chosen") if row.get("p_chosen") not in (None, "") else 1.0
    source, key = voter(row, options, "trl"), optional(row, "vote_id")
    for found in pairs:
        yield Vote(*found, p, source, options.question, key=key, tags=options.tags)


def pair(row: Row) -> tuple[Conversation, str, str]:
    """Prompt, chosen answer and rejected answer of any of the forms."""
    return chosen_rejected(row)


def _exact(row: Row, messages: Conversation, pair: tuple[str, str]) -> Preference:
    """A row that cai wrote, as it was."""
    first, p, p_chosen = text(row, "first"), probability(row, "p_a"), probability(row, "p_chosen")
    if first not in ("a", "b"):
        raise ItemError("label out of range", f"'first' is {shown(first)}; it must be a or b")
    if abs(p_chosen - (p if first == "a" else 1.0 - p)) > 1e-6:
        raise ItemError("label contradicts itself", f"p_a is {p:g}, p_chosen {p_chosen:g}; drop 'p_a'")
    asked = Prompt(text(row, "prompt_id"), messages, texts(row, "tags"))
    a, b = pair if first == "a" else pair[::-1]
    return Preference(
        Comparison(text(row, "comparison_id"), asked, a, b),
        p,
        source(table(row, "source")),
        tuple(judgement(found) for found in items(row, "judgements")),
        raw=optional(row, "raw"),
        weight=weight(row),
    )


def judgement(found: Any) -> Judgement:
    """A judgement in the form of cai's own rows."""
    if not isinstance(found, Mapping) or not isinstance(found.get("principle_id"), str):
        raise ItemError("not a judgement", shown(found))
    read = {
        order: None if found.get(order) is None else probability(found, order)
        for order in ("p_a_first", "p_b_first")
    }
    return Judgement(
        found["principle_id"],
        **read,
        p_single=None if found.get("p_single") is None else probability(found, "p_single"),
        log_odds=found.get("log_odds") is True,
        readings=tuple(map(_reading, items(found, "readings"))) if found.get("readings") else (),
    )


def _reading(found: Any) -> Reading | None:
    if found is None:
        return None
    try:
        votes = found["votes"]
        reading = Reading(**{**found, "votes": None if votes is None else Votes(**votes)})
        probabilities = [p for p in (reading.p, reading.mass) if p is not None]
        if all(0.0 <= p <= 1.0 + 1e-6 for p in probabilities):
            return reading
    except (KeyError, TypeError):
        pass
    raise ItemError("not a reading of a label", shown(found))


def interval(row: Row) -> tuple[float, float] | None:
    """The interval of a sampled label, in the form of cai's own rows."""
    found = row.get("interval")
    if found in (None, "", []):
        return None
    ends = dict(zip(("its low end", "its high end"), items(row, "interval"), strict=False))
    if len(ends) != 2:
        raise ItemError("not an interval", shown(found))
    low, high = (probability(ends, name) for name in ends)
    return low, high


def source(found: Row) -> Source:
    """A source in the form of cai's own rows."""
    if found.get("kind") not in ("human", "ai") or not isinstance(found.get("name"), str):
        raise ItemError(
            "not a source", f"'source' needs kind (human or ai) and name, not {shown(dict(found))}"
        )
    return Source(found["kind"], found["name"])


def write(votes: Sequence[Preference]) -> dict[str, Any]:
    (vote, first), said = winner_first(one(votes)), one(votes)
    comparison = vote.comparison
    return {
        "prompt": as_messages(comparison.prompt.messages),
        "chosen": [{"role": "assistant", "content": comparison.a}],
        "rejected": [{"role": "assistant", "content": comparison.b}],
        "p_chosen": vote.p,
        "comparison_id": comparison.id,
        "prompt_id": comparison.prompt.id,
        "first": first,
        "p_a": said.p,
        "tags": list(comparison.prompt.tags),
        "source": {"kind": vote.source.kind, "name": vote.source.name},
        "judgements": [judgement_row(judgement) for judgement in said.judgements],
        "raw": vote.raw,
        "weight": vote.weight,
    }


FORMAT = Format(
    "trl",
    "chosen and rejected (texts or lists of turns), with a prompt or as whole conversations",
    fits,
    read,
    write=write,
    loses="unscored votes",
)
