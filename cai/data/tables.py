"""Values ↔ rows of the parquet files. Columns follow TRL's conversational format plus provenance.

Rows are plain dictionaries of JSON types; ``run/folder.py`` writes and reads them. Each pair of
functions is an exact inverse on what the stages make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cai.values.types import (
    Comparison,
    Demonstration,
    Judgement,
    Message,
    Outcome,
    Preference,
    Prompt,
    Reading,
    Response,
    Round,
    Source,
    Transcript,
    Votes,
    as_messages,
    rank,
)

Row = dict[str, Any]


def prompt_columns(prompt: Prompt) -> Row:
    return {"prompt_id": prompt.id, "prompt": as_messages(prompt.messages), "tags": list(prompt.tags)}


def prompt_from(row: Row) -> Prompt:
    messages = tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"])
    return Prompt(row["prompt_id"], messages, tuple(row["tags"]))


def response_row(response: Response) -> Row:
    return {
        **prompt_columns(response.prompt),
        "index": response.index,
        "response": response.text,
        "finish": response.finish,
    }


def response_from(row: Row) -> Response:
    return Response(prompt_from(row), row["response"], row["finish"], row["index"])


def transcript_row(transcript: Transcript) -> Row:
    return {
        **prompt_columns(transcript.prompt),
        "initial": transcript.initial,
        "rounds": [
            {
                "index": r.index,
                "principle_id": r.principle_id,
                "critique": r.critique,
                "outcome": r.outcome.value,
                "response": r.response,
                "raw_revision": r.raw_revision,
                "unread": r.unread,
            }
            for r in transcript.rounds
        ],
        "final": transcript.final,
    }


def transcript_from(row: Row) -> Transcript:
    rounds = tuple(Round(**{**r, "outcome": Outcome(r["outcome"])}) for r in row["rounds"])
    return Transcript(prompt_from(row), row["initial"], rounds)


def demonstration_row(demonstration: Demonstration) -> Row:
    return {
        **prompt_columns(demonstration.prompt),
        "messages": as_messages(demonstration.prompt.answered(demonstration.response)),
        "response": demonstration.response,
        "origin": demonstration.origin,
        "principle_id": demonstration.principle_id,
        "round": demonstration.round,
    }


def demonstration_from(row: Row) -> Demonstration:
    return Demonstration(prompt_from(row), row["response"], row["origin"], row["principle_id"], row["round"])


def comparison_row(comparison: Comparison) -> Row:
    return {
        "id": comparison.id,
        **prompt_columns(comparison.prompt),
        "a": comparison.a,
        "b": comparison.b,
    }


def comparison_from(row: Row) -> Comparison:
    return Comparison(row["id"], prompt_from(row), row["a"], row["b"])


def preference_row(preference: Preference) -> Row:
    """``chosen``/``rejected`` are null where the pair is unscored, so no trainer can take it by accident."""
    ranked = rank(preference)

    def turn(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    return {
        **comparison_row(preference.comparison),
        "chosen": turn(ranked.chosen) if ranked else None,
        "rejected": turn(ranked.rejected) if ranked else None,
        "p_chosen": ranked.p_chosen if ranked else None,
        "p": preference.p,
        "source": {"kind": preference.source.kind, "name": preference.source.name},
        "judgements": [judgement_row(judgement) for judgement in preference.judgements],
        "unscored": preference.unscored,
        "raw": preference.raw,
        "weight": preference.weight,
        "interval": None if preference.interval is None else list(preference.interval),
    }


def preference_from(row: Row) -> Preference:
    return Preference(
        comparison_from(row),
        row["p"],
        Source(**row["source"]),
        tuple(judgement_from(found) for found in row["judgements"]),
        row["unscored"],
        row["raw"],
        row["weight"],
        _pair(row.get("interval")),
    )


def judgement_row(judgement: Judgement) -> Row:
    """The figures that there are: a person's judgement has no readings, and its row no place for them."""
    row: Row = {
        "principle_id": judgement.principle_id,
        "p_a_first": judgement.p_a_first,
        "p_b_first": judgement.p_b_first,
    }
    if judgement.p_single is not None:
        row["p_single"] = judgement.p_single
    if judgement.log_odds:
        row["log_odds"] = True
    if judgement.readings:
        row["readings"] = [None if found is None else asdict(found) for found in judgement.readings]
    return row


def judgement_from(row: Row) -> Judgement:
    """A judgement of ``preference_row``; one that was written before readings were kept has none."""
    readings = tuple(None if found is None else _reading(found) for found in row.get("readings") or ())
    return Judgement(
        row["principle_id"],
        row["p_a_first"],
        row["p_b_first"],
        row.get("p_single"),
        bool(row.get("log_odds")),
        readings,
    )


def _reading(row: Row) -> Reading:
    votes = row["votes"]
    return Reading(**{**row, "votes": None if votes is None else Votes(**votes)})


def _pair(found: Sequence[float] | None) -> tuple[float, float] | None:
    return None if found is None else (found[0], found[1])
