"""Differences of two measured values, with intervals made of theirs."""

from __future__ import annotations

import math

from cai.values.types import Score


def difference(before: Score, after: Score) -> Score:
    """``after`` - ``before``; its interval joins the two by square-and-add (Newcombe 1998, method 10).

    The two are taken as independent. Where they come from the same prompts and move together, which answers
    of two related models do, the interval is too wide rather than too narrow.
    """
    gap = after.value - before.value
    low = math.hypot(after.value - after.low, before.high - before.value)
    high = math.hypot(after.high - after.value, before.value - before.low)
    return Score(gap, gap - low, gap + high, min(before.n, after.n))
