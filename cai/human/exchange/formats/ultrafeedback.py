"""UltraFeedback (2023): four completions with ratings, and its binarized forms. The ratings are GPT-4's.

``ultrafeedback`` reads openbmb/UltraFeedback: ``instruction`` and ``completions``, of each its ``response``
and its ``fine-grained_score`` (the mean of the four aspects; ``overall_score``, known to be wrong in places,
only where that is missing). Every two completions make a pair: the better rated wins, equal ratings are a
tie. The system prompts under which completions were written are not read.

``ultrafeedback-binarized`` reads ``chosen`` and ``rejected`` (conversations or answers) with their ratings:
``score_chosen`` and ``score_rejected`` (HuggingFaceH4/ultrafeedback_binarized, trl-lib/…) or
``chosen-rating`` and ``rejected-rating`` (argilla/ultrafeedback-binarized-preferences-cleaned). Equal ratings
are a tie, and a pair rated the other way round is rejected.

Neither is written: their point is ratings, which a preference does not have. ``trl`` is the same without.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from cai.data.turns import shown
from cai.human.exchange.fields import Row, has, items, number, text
from cai.human.exchange.format import Format, Read
from cai.human.exchange.formats import trl
from cai.human.pairs import Options, Refusal, Vote
from cai.values.errors import ItemError
from cai.values.types import Message

_SCORES = ("fine-grained_score", "overall_score")


def read(row: Row, options: Options) -> Iterator[Read]:
    messages = (Message("user", text(row, "instruction")),)
    rated: list[tuple[str, float]] = []
    for index, completion in enumerate(items(row, "completions"), 1):
        part = f"completion {index}"
        try:
            rated.append(_rated(completion))
        except ItemError as error:
            yield Refusal.of(error, part)
    if len(rated) < 2:
        raise ItemError("no pair", f"{len(rated)} of its completions have a text and a rating")
    source = options.by("gpt-4", "ai")
    for (first, ours), (second, theirs) in combinations(rated, 2):
        p = 0.5 if ours == theirs else float(ours > theirs)
        yield Vote(messages, first, second, p, source, options.question, tags=options.tags)


def _rated(completion: object) -> tuple[str, float]:
    if not isinstance(completion, dict):
        raise ItemError("not an object", shown(completion))
    column = next((name for name in _SCORES if completion.get(name) is not None), None)
    if column is None:
        raise ItemError("no rating", f"neither {_SCORES[0]} nor {_SCORES[1]}")
    return text(completion, "response"), number(completion, column)


def _columns(row: Row) -> tuple[str, str] | None:
    return next((columns for columns in trl.SCORES if has(row, *columns)), None)


def read_binarized(row: Row, options: Options) -> Iterator[Read]:
    columns = _columns(row)
    if columns is None:
        raise ItemError("missing column", "no score_chosen and score_rejected")
    messages, chosen, rejected = trl.pair(row)
    better, worse = number(row, columns[0]), number(row, columns[1])
    if better < worse:
        raise ItemError("label contradicts itself", f"chosen is rated {better:g}, rejected {worse:g}")
    p = 0.5 if better == worse else 1.0
    source = options.by("gpt-4", "ai")
    yield Vote(messages, chosen, rejected, p, source, options.question, tags=options.tags)


FORMAT = Format(
    "ultrafeedback", "instruction and completions", lambda row: has(row, "instruction", "completions"), read
)
BINARIZED = Format(
    "ultrafeedback-binarized",
    "chosen, rejected, score_chosen and score_rejected (or chosen-rating and rejected-rating)",
    lambda row: has(row, "chosen", "rejected") and _columns(row) is not None,
    read_binarized,
)
