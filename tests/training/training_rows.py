"""Rows that the training tests share."""

from __future__ import annotations

from cai.training.examples import Example
from cai.values.types import Message, Prompt, Ranked

ANSWERS = [
    "Yes.",
    "I can't help with that, but here is what I can do.",
    "Hello world!",
    "No, be kind and honest.",
]


def prompt(number: int) -> Prompt:
    text = "What is this? " * (number % 4 + 1) + f"Question {number}."
    return Prompt(f"p{number}", (Message("user", text),))


def examples() -> list[Example]:
    """Twenty responses of ragged length."""
    return [Example(prompt(i), " ".join(ANSWERS[: i % 4 + 1])) for i in range(20)]


def pairs() -> list[Ranked]:
    """Twenty ranked pairs with labels from 0.5 to 1."""
    return [
        Ranked(prompt(i), ANSWERS[i % 4], ANSWERS[(i + 1) % 4] + f" {i}", 0.5 + i / 38, 1.0)
        for i in range(20)
    ]
