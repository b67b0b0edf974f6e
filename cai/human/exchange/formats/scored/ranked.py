"""Lists of answers with a rank or a score for each (Nectar and files like it).

    {"prompt": …, "answers": [{"answer": "x", "rank": 1}, …]}
    {"prompt": …, "responses": ["x", "y", "z"], "ranks": [2, 1, 3]}

Rank 1 is the best, the highest score is the best. Every two answers make a pair (``--pairs N``: at most N
of a row, the furthest apart first); equal ranks are a tie. Who ranked is read as ``voters.py`` says;
Nectar's ranks are GPT-4's, which its columns ``good_natured`` and ``num_responses`` tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cai.data.asked import NAMES, asked
from cai.data.turns import conversation, listed, shown, spelt
from cai.human.exchange.fields import Row, has, number
from cai.human.exchange.format import Format, Read
from cai.human.exchange.formats.scored.pairing import Placed, pairs
from cai.human.exchange.voters import voter
from cai.human.pairs import Options, Refusal
from cai.values.errors import ItemError
from cai.values.types import Source

_LISTS = ("answers", "responses", "completions", "candidates", "outputs", "generations")
_TEXTS = ("answer", "response", "text", "completion", "content", "output")
_RANKS, _SCORES = ("rank", "ranking"), ("score", "rating", "overall_score")
_RANK_LISTS, _SCORE_LISTS = ("rank", "ranks", "ranking", "rankings"), ("scores", "ratings")
_NECTAR = ("good_natured", "num_responses")


def fits(row: Row) -> bool:
    return (
        any(name in row for name in NAMES) and not has(row, "instruction", "completions") and _list(row) != ""
    )


def _list(row: Row) -> str:
    """The column of answers; empty where there is none with an order."""
    beside = any(name in row for name in (*_RANK_LISTS, *_SCORE_LISTS))
    for name in _LISTS:
        found = listed(row.get(name))
        if not isinstance(found, list) or not found:
            continue
        first = found[0]
        if beside or (isinstance(first, Mapping) and any(key in first for key in (*_RANKS, *_SCORES))):
            return name
    return ""


def read(row: Row, options: Options) -> Iterator[Read]:
    name = _list(row)
    if not name:
        raise ItemError("missing column", "no list of answers with their ranks or scores")
    messages = asked(row)
    if messages is None:
        raise ItemError("no prompt", "there is no column of prompts")
    placed: list[Placed] = []
    found = listed(row[name])
    places = _places(row, len(found))
    for index, answer in enumerate(found):
        try:
            place = _place(answer) if places is None else places[index]
            placed.append((_text(answer), place))
        except ItemError as error:
            yield Refusal.of(error, f"answer {index + 1}")
    if len(placed) < 2:
        raise ItemError("no pair", f"{len(placed)} of its answers have a text and a rank")
    source = voter(row, options, "ranked")
    if has(row, *_NECTAR) and options.source is None:
        source = Source("ai", "gpt-4")
    yield from pairs(messages, placed, source, options)


def _places(row: Row, count: int) -> list[float] | None:
    """The places in a list beside the answers; None where each answer has its own."""
    name = next((n for n in (*_RANK_LISTS, *_SCORE_LISTS) if isinstance(listed(row.get(n)), list)), None)
    if name is None:
        return None
    found = listed(row[name])
    if len(found) != count:
        raise ItemError("turns missing", f"{count} answers, and {len(found)} values in '{name}'")
    sign = 1 if name in _RANK_LISTS else -1
    return [sign * number({name: one}, name) for one in found]


def _place(answer: Any) -> float:
    if not isinstance(answer, Mapping):
        raise ItemError("not an object", shown(answer))
    for names, sign in ((_RANKS, 1), (_SCORES, -1)):
        for name in names:
            if answer.get(name) is not None:
                return sign * number(answer, name)
    raise ItemError("no rating", f"neither {_RANKS[0]} nor {_SCORES[0]}")


def _text(answer: Any) -> str:
    if isinstance(answer, Mapping):
        answer = next((answer[name] for name in _TEXTS if answer.get(name) is not None), None)
    answer = spelt(answer)
    if isinstance(answer, list):
        turns = conversation(answer, "an answer")
        if len(turns) == 1 and turns[0].role == "assistant":
            return turns[0].content
    if not isinstance(answer, str):
        raise ItemError("not text", f"an answer is {shown(answer)}")
    return answer


FORMAT = Format("ranked", "a prompt and a list of answers, each with a rank or score", fits, read)
