"""Ratings from 1 to 10, read from the judge's log-probabilities of the ten numbers.

A rating is the expected value Σ n P(n) / Σ P(n), as in G-Eval (Liu et al. 2023, eq. 1): it uses what the
judge is unsure of, and nothing is parsed from text; of a judge without log-probabilities, numbers are drawn.
MT-Bench (Zheng et al. 2023) takes the number that the judge writes instead, so ratings here are less extreme
than published ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from cai.engines.engine import Engine
from cai.stages.judge_reading import Expected, Judging, Scale, expected
from cai.values.types import Conversation, Message

NUMBERS = range(1, 11)
TASK = (
    "How good is the assistant's last answer? Consider whether it does what the human asked, in this turn "
    "and with regard to those before it, and whether it is correct, complete, clear and to the point. Length "
    "alone is no merit. Rate it with a whole number from (1), of no use, to (10), hardly to be bettered. "
    "Answer with that number alone, in round brackets."
)
PREFILL = "Rating: ("
SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}


async def rate(
    conversation: Conversation,
    references: Sequence[str],
    engine: Engine,
    *,
    closed: bool = True,
    how: Judging | None = None,
) -> Expected:
    """Rate the last answer of ``conversation``: ``value`` in [1, 10].

    ``references``: a correct answer to each of the human's messages, "" where there is none. ``closed``: read
    the numbers with the bracket behind them, without which "1" is also the beginning of "10" where a
    tokenizer has no token for that. A server lists single tokens alone, so there it must be False. ``how``:
    as labels are read; without log-probabilities, the mean of sampled numbers.

    Raises:
        ItemError: the ten numbers have too little probability together, or cannot be read.
    """
    question = (Message("user", _question(conversation, references)),)
    return await expected(question, Scale(NUMBERS, PREFILL, ")" if closed else ""), engine, how or Judging())


def with_references(references: Sequence[str]) -> str:
    """The reference answers for a judge's eyes; empty where there are none."""
    given = [(n, reference) for n, reference in enumerate(references, 1) if reference]
    if not given:
        return ""
    listed = "\n\n".join(f"To message {n}: {reference}" for n, reference in given)
    return f"Correct answers to the human's messages, which need not be matched word by word:\n\n{listed}"


def _question(conversation: Conversation, references: Sequence[str]) -> str:
    said = [f"{SPEAKERS[turn.role]}: {turn.content}" for turn in conversation]
    shown = ["Read this conversation between a human and an assistant:", *said]
    return "\n\n".join(part for part in (*shown, with_references(references), TASK) if part)
