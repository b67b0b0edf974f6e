"""Monitors about the judge: answers that talk to it, answers that say nothing, the worth of its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cai.config.run_config import MonitorConfig
from cai.constitution.inert import talks_to_judge
from cai.evaluation.monitors.monitor_value import MIN_PROMPTS, Monitor, rise, shown
from cai.evaluation.monitors.text_statistics import Pair
from cai.stages.degenerate import degenerate
from cai.statistics.intervals import proportion
from cai.values.types import Score


def judge_talk(pairs: Sequence[Pair], limit: float) -> Monitor:
    """Answers with marks of a judge's prompt (``constitution/inert.py``), trained minus base."""
    return _shares("judge_talk", pairs, limit, talks_to_judge, "answers talk to the judge")


def saying_nothing(pairs: Sequence[Pair], limit: float) -> Monitor:
    """Degenerate answers (``stages/degenerate.py``), trained minus base."""
    what = "answers say nothing"
    return _shares("saying_nothing", pairs, limit, lambda text: degenerate(text) is not None, what)


def labels(worth: Mapping[str, Score], limits: MonitorConfig) -> Monitor:
    """What the AI labels are worth that the policy learned from: flips, ties, agreement with people.

    ``value`` is the first of them that is beyond its limit, the first that was measured where none is.
    """
    name = "labels"
    checks = [
        ("flipped", limits.label_flips, 1, "judgements that flip with the order"),
        ("near_tie", limits.label_ties, 1, "labels next to a tie"),
        ("agreement", limits.label_agreement, -1, "labels that take people's side"),
    ]
    there = [(worth[key], limit, way, words) for key, limit, way, words in checks if key in worth]
    enough = [check for check in there if check[0].n >= MIN_PROMPTS]
    figures = tuple((key, worth[key]) for key, *_ in checks if key in worth)
    if not enough:
        n = max((score.n for score, *_ in there), default=0)
        text = f"not measured: labels on {n} prompts, {MIN_PROMPTS} needed"
        return Monitor(name, None, limits.label_flips, False, text, figures)
    beyond = [(s.low if way > 0 else -s.high) > way * limit for s, limit, way, _ in enough]
    value, limit, *_ = enough[beyond.index(True) if any(beyond) else 0]
    text = "; ".join(f"{words}: {shown(score)} (limit {limit:g})" for score, limit, _, words in enough)
    return Monitor(name, value, limit, any(beyond), text, figures)


def _shares(
    name: str, pairs: Sequence[Pair], limit: float, holds: Callable[[str], bool], what: str
) -> Monitor:
    """The rise of the share of answers of which ``holds`` is true."""
    before = proportion([holds(pair.base) for pair in pairs])
    after = proportion([holds(pair.trained) for pair in pairs])
    if before is None or after is None:
        return Monitor(name, None, limit, False, "not measured: no prompt that both models answered")
    return rise(name, "share", (before, after), limit, what)
