"""TRL preference rows (TRL 1.16, "dataset formats"): ``chosen`` and ``rejected``, with or without ``prompt``.

Conversational (lists of turns) and standard (text). With an explicit prompt the two hold the answer alone;
without, they hold the whole conversation, or text of which the words they share are the prompt. A prompt in
text beside whole conversations is a copy and is not read. ``p_chosen`` is read where it stands, else P = 1;
``margin`` and other columns are not read.

Written rows are conversational with an explicit prompt, ``p_chosen``, and columns that TRL passes over: ids,
which response of the comparison is the chosen one (``first``) and P of its ``a`` (``p_a``), tags, source,
judgements, comment, weight.
Nothing of a scored vote is lost; unscored votes are left out, since TRL has no place for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cai.human.exchange.fields import (
    Row,
    answers,
    conversation,
    has,
    items,
    optional,
    probability,
    prompt,
    shown,
    table,
    text,
    texts,
    value,
    weight,
)
from cai.human.exchange.format import Format, Read, one, winner_first
from cai.human.exchange.formats import hh_rlhf
from cai.human.pairs import Options, Vote
from cai.values.errors import ItemError
from cai.values.types import (
    Comparison,
    Conversation,
    Judgement,
    Message,
    Preference,
    Prompt,
    Source,
    as_messages,
)

SCORES = (("score_chosen", "score_rejected"), ("chosen-rating", "rejected-rating"))
_OURS = ("comparison_id", "prompt_id", "first", "p_a", "source", "judgements")


def fits(row: Row) -> bool:
    if not has(row, "chosen", "rejected") or hh_rlhf.fits(row) or has(row, "a", "b", "p", "source"):
        return False
    return not any(has(row, *columns) for columns in SCORES)


def read(row: Row, options: Options) -> Iterator[Read]:
    messages, chosen, rejected = pair(row)
    if has(row, *_OURS):
        yield _exact(row, messages, (chosen, rejected))
        return
    p = probability(row, "p_chosen") if row.get("p_chosen") is not None else 1.0
    yield Vote(messages, chosen, rejected, p, options.by("trl"), options.question, tags=options.tags)


def pair(row: Row) -> tuple[Conversation, str, str]:
    """Prompt, chosen answer and rejected answer of any of the four forms."""
    chosen, rejected, asked = value(row, "chosen"), value(row, "rejected"), row.get("prompt")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if asked is None or asked == "":
            return _shared_text(chosen, rejected)
        return prompt(asked), chosen, rejected
    first, second = conversation(chosen, "'chosen'"), conversation(rejected, "'rejected'")
    if asked not in (None, "") and not (isinstance(asked, str) and len(first) > 1):
        return prompt(asked), _answer(first, "chosen"), _answer(second, "rejected")
    return answers(first, second)


def _answer(turns: Conversation, column: str) -> str:
    if len(turns) != 1 or turns[0].role != "assistant":
        raise ItemError("not an answer", f"beside a prompt, '{column}' holds one turn of the assistant")
    return turns[0].content


def _shared_text(chosen: str, rejected: str) -> tuple[Conversation, str, str]:
    """Text without a prompt: what both begin with, up to the last whole word, is the prompt."""
    pairs = enumerate(zip(chosen, rejected, strict=False))
    shared = next((n for n, (x, y) in pairs if x != y), min(len(chosen), len(rejected)))
    cut = max((n for n in range(1, shared + 1) if chosen[n - 1].isspace()), default=0)
    if not chosen[:cut].strip():
        raise ItemError("no prompt", "there is no 'prompt', and the two texts share no first words")
    return (Message("user", chosen[:cut].strip()),), chosen[cut:].strip(), rejected[cut:].strip()


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
    return Judgement(found["principle_id"], **read)


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
        "judgements": [
            {"principle_id": j.principle_id, "p_a_first": j.p_a_first, "p_b_first": j.p_b_first}
            for j in said.judgements
        ],
        "raw": vote.raw,
        "weight": vote.weight,
    }


FORMAT = Format(
    "trl",
    "chosen and rejected (texts or lists of turns), with or without prompt",
    fits,
    read,
    write=write,
    loses="unscored votes",
)
