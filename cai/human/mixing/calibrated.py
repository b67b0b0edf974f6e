"""AI labels recalibrated on what people said about the same pairs, for a mixture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cai.config.run_config import HumanConfig
from cai.human.agreement import raters
from cai.human.agreement.overlap import overlap
from cai.human.mixing import recalibrate
from cai.values.types import Preference, Score


def recalibrated(
    ai: Sequence[Preference], votes: Sequence[Preference], config: HumanConfig
) -> tuple[list[Preference], dict[str, Score], list[str]]:
    """``ai`` with calibrated P, cross-validated figures, and what to tell. Judgements keep what was read.

    Labels stay as they are when that is no worse: the gain in log-loss where it was not fitted must be
    positive.

    Raises:
        CaiError: too few pairs have both an AI label and votes.
    """
    if config.recalibrate is None:
        return list(ai), {}, []
    units = raters.units(vote for vote in votes if vote.source.kind == "human")
    joined = overlap(units, [label for label in ai if label.p is not None])
    p = [label.p for label, _ in joined if label.p is not None]
    human = [unit.share for _, unit in joined if unit.share is not None]
    prompts = [unit.prompt for _, unit in joined]
    key = _KEYS[config.recalibrate_by]
    keys = [key(label) for label, _ in joined]
    scores = recalibrate.cross_validated(p, human, prompts, config.recalibrate, keys=keys)
    gain = scores.get("log_loss/gain")
    told = f"recalibration by {config.recalibrate} on {len(p)} pairs: log-loss "
    told += f"{scores['log_loss/before'].value:.3f} → {scores['log_loss/after'].value:.3f} (cross-validated)"
    if gain is None or gain.value <= 0:
        return list(ai), scores, [told + "; no gain, so the AI labels stay as they are"]
    calibrate = recalibrate.fit_by(p, human, prompts, config.recalibrate, keys)
    notes = [told, *(f"  {name}: a calibration of its own" for name in calibrate.own)]
    done = [
        label if label.p is None else replace(label, p=min(1.0, max(0.0, calibrate(label.p, key(label)))))
        for label in ai
    ]
    return done, scores, notes


def _principle(label: Preference) -> str:
    return label.judgements[0].principle_id if label.judgements else ""


def _tag(label: Preference) -> str:
    tags = label.comparison.prompt.tags
    return tags[0] if tags else ""


_KEYS: dict[str | None, Callable[[Preference], str]] = {
    None: lambda _: "",
    "principle": _principle,
    "tag": _tag,
}
