"""Rows on both sides of the length at which a model turns all positions by other angles (``longrope``).

transformers chooses the angles for a whole micro-batch by its longest row. The engines keep such rows apart
(``engines/local/forward.py``), and so do trainings (``schedule.py``, ``scoring.py``). A row itself can't be
parted: a pair with an answer on either side, and a response that passes the border while it is drawn. How
many there are of these is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cai.engines.local.layouts import rotary_border
from cai.training.examples import PairRow, SFTRow
from cai.training.result import Say


def announce_pairs(config: Any, rows: Sequence[SFTRow | PairRow], say: Say) -> None:
    """``say`` of how many pairs one answer lies beyond the border and the other does not."""
    border = rotary_border(config)
    if border is None:
        return
    parted = sum(row.shortest <= border < row.length for row in rows)
    if parted:
        say(
            f"of {parted} pairs one answer is longer than {border} tokens and the other shorter: this model "
            "(longrope) reads the shorter one with the angles of long texts, since a pair is read together. "
            f"Use max_length: {border}."
        )


def announce_border(config: Any, prompts: Sequence[int], say: Say, growth: int) -> None:
    """``say`` how many prompts, of so many tokens, may pass the border by a response of ``growth`` tokens."""
    border = rotary_border(config)
    if border is None:
        return
    beyond = sum(length + growth > border for length in prompts)
    within = sum(length <= border for length in prompts)
    if beyond and within:
        say(
            f"{beyond} rows can become longer than {border} tokens and {within} begin shorter: this model "
            "(longrope) reads a shorter row with the angles of long texts where both are in one micro-batch, "
            "and a response that passes the border is drawn with both. Use shorter prompts or a lower "
            "max_tokens."
        )
