"""Rows on both sides of the length at which a model turns all positions by other angles (``longrope``).

transformers chooses the angles for a whole micro-batch by its longest row. The engines keep such rows apart
(``engines/local/forward.py``); trainings do not, and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cai.engines.local.layouts import rotary_border
from cai.training.result import Say


def announce_border(config: Any, lengths: Sequence[int], say: Say, growth: int = 0) -> None:
    """``say`` how many rows lie on either side of the border, where there are any on both.

    ``lengths`` in tokens; ``growth``: tokens by which a row may still grow, as prompts do by responses.
    """
    border = rotary_border(config)
    if border is None:
        return
    beyond = sum(length + growth > border for length in lengths)
    within = sum(length <= border for length in lengths)
    if beyond and within:
        longer, shorter = ("can become", "begin") if growth else ("are", "are")
        and_so = ", and a response that passes the border is drawn with both" if growth else ""
        remedy = "shorter prompts or a lower max_tokens" if growth else f"max_length: {border}"
        say(
            f"{beyond} rows {longer} longer than {border} tokens and {within} {shorter} shorter: this model "
            "(longrope) reads a shorter row with the angles of long texts where both are in one "
            f"micro-batch{and_so}. Use {remedy}."
        )
