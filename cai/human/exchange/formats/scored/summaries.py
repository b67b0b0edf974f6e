"""OpenAI's comparisons: summaries (summarize_from_feedback, 2020) and answers from the web (WebGPT, 2021).

``summaries`` reads ``info`` (``post`` with ``title`` and ``subreddit``, or ``article``), ``summaries``
(two, each with ``text``), ``choice`` (0 or 1, the place of the better one) and ``worker``. The prompt is
the text behind the labels that the paper gave its models, up to "TL;DR:" (Stiennon et al. 2020, app. B).
``extra.confidence`` is not read. ``webgpt`` reads ``question.full_text``, ``answer_0``, ``answer_1``,
``score_0`` and ``score_1``: the higher score wins, equal ones are a tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cai.data.asked import asked
from cai.data.turns import shown
from cai.human.exchange.fields import Row, has, items, number, one_among, optional, table, text
from cai.human.exchange.format import Format, Read
from cai.human.exchange.voters import voter
from cai.human.pairs import Options, Vote
from cai.values.errors import ItemError
from cai.values.types import Conversation, Message


def read_summaries(row: Row, options: Options) -> Iterator[Read]:
    choice = one_among(row, "choice", (0, 1))
    texts = []
    for summary in items(row, "summaries"):
        if not isinstance(summary, Mapping):
            raise ItemError("not an object", f"a summary is {shown(summary)}")
        texts.append(text(summary, "text").strip())
    if len(texts) != 2:
        raise ItemError("no pair", f"{len(texts)} summaries, not two")
    source = voter(row, options, "summaries")
    yield Vote(
        _document(table(row, "info")),
        texts[0],
        texts[1],
        float(choice == 0),
        source,
        options.question,
        shown=True,
        tags=options.tags,
    )


def _document(info: Row) -> Conversation:
    article = optional(info, "article")
    if article is not None:
        title = f"{found}\n\n" if (found := optional(info, "title")) else ""
        return (Message("user", f"{title}{article}\n\nTL;DR:"),)
    parts = [
        f"{label}: {mark}{found}"
        for label, mark, name in (
            ("SUBREDDIT", "r/", "subreddit"),
            ("TITLE", "", "title"),
            ("POST", "", "post"),
        )
        if (found := optional(info, name))
    ]
    if optional(info, "post") is None:
        raise ItemError("no prompt", "'info' holds neither a post nor an article")
    return (Message("user", "\n\n".join((*parts, "TL;DR:"))),)


def read_webgpt(row: Row, options: Options) -> Iterator[Read]:
    messages = asked(row)
    if messages is None:
        raise ItemError("no prompt", "'question' is empty")
    ours, theirs = number(row, "score_0"), number(row, "score_1")
    p = 0.5 if ours == theirs else float(ours > theirs)
    pair = text(row, "answer_0"), text(row, "answer_1")
    yield Vote(messages, *pair, p, voter(row, options, "webgpt"), options.question, tags=options.tags)


SUMMARIES = Format(
    "summaries",
    "info, summaries and choice",
    lambda row: has(row, "info", "summaries", "choice"),
    read_summaries,
)
WEBGPT = Format(
    "webgpt",
    "question, answer_0, answer_1, score_0 and score_1",
    lambda row: has(row, "question", "answer_0", "answer_1", "score_0", "score_1"),
    read_webgpt,
)
