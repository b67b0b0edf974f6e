"""What annotation tools' projects call a prompt and its two answers, and the ids that cai adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai.data.turns import prompt, shown
from cai.human.exchange.fields import Row, has, text
from cai.human.pairs import Identity
from cai.values.errors import ItemError
from cai.values.types import Conversation, Message, as_messages
from cai.values.words import excerpt

PROMPTS = ("prompt", "instruction", "question", "chat", "context")
PAIRS = (
    ("answer1", "answer2"),
    ("answer_1", "answer_2"),
    ("answer_a", "answer_b"),
    ("response1", "response2"),
    ("response_1", "response_2"),
    ("response-1", "response-2"),
    ("response-a", "response-b"),
    ("answer-1", "answer-2"),
    ("answer-a", "answer-b"),
    ("answer_one", "answer_two"),
    ("answer_left", "answer_right"),
    ("response_left", "response_right"),
    ("response_a", "response_b"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("output_1", "output_2"),
    ("output1", "output2"),
    ("output_a", "output_b"),
    ("completion_a", "completion_b"),
    ("completion_1", "completion_2"),
    ("completion1", "completion2"),
    ("generation_1", "generation_2"),
    ("model_a_response", "model_b_response"),
    ("option_a", "option_b"),
    ("a", "b"),
)


def pair_columns(data: Row, columns: Mapping[str, str]) -> tuple[str, str, str]:
    """The names of prompt, first and second answer among ``data``.

    Raises:
        ItemError: they are not known names, and ``columns`` does not name them.
    """
    asked = columns.get("prompt") or next((name for name in PROMPTS if name in data), None)
    pair = next((names for names in PAIRS if has(data, *names)), None)
    if "a" in columns and "b" in columns:
        pair = columns["a"], columns["b"]
    if asked is None or pair is None:
        there = excerpt(", ".join(map(str, data)), 80)
        missing = "a prompt" if asked is None else "two answers"
        raise ItemError(
            "missing column", f"no name of {missing} among {there}; say --columns prompt=…,a=…,b=…"
        )
    return asked, *pair


def prompt_value(messages: Conversation) -> Any:
    """A prompt as text where it is one user turn, else as a list of turns."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return as_messages(messages)


def prompt_of(found: Any, known: Identity | None) -> Conversation:
    """A prompt as text or turns; in a row that cai wrote (``known``), text is text whatever it looks like."""
    if known is not None and isinstance(found, str):
        return (Message("user", found),)
    return prompt(found)


def identity(data: Row) -> Identity | None:
    """The ids of a row that cai wrote; None where somebody else did."""
    if not has(data, "comparison_id", "prompt_id", "first"):
        return None
    if data["first"] not in ("a", "b"):
        raise ItemError("label out of range", f"'first' is {shown(data['first'])}; it must be a or b")
    return Identity(text(data, "comparison_id"), text(data, "prompt_id"), data["first"])
