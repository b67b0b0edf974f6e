"""Labelers and reward models on labelled pairs: how often they agree, how sure they are, what sways them.

Language models label the pairs under the run's constitution; checkpoints of reward models score both
responses. Three rules that read nothing stand beside them as ``shorter``, ``longer`` and ``first``: a model
that does not beat the best of these has learned no more than length or position from the pairs. ``log_loss``
and ``ece`` compare probabilities with the label's; of a reward model these are sigmoid(difference).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cai.evaluation.bench import Bench, Findings
from cai.evaluation.items import drawn, read_all
from cai.evaluation.judging.labelled_pairs import NEEDED, Pair, pairs_from
from cai.evaluation.judging.preferring import (
    Verdict,
    decided,
    first_position,
    prefer_all,
    prefers_longer,
    reward_folder,
    row,
)
from cai.statistics.kappa import kappa
from cai.statistics.prediction import accuracy, calibration_error, log_loss
from cai.values.errors import UsageError
from cai.values.types import Score

NAIVE: dict[str, Callable[[Pair], float]] = {
    "shorter": lambda pair: pair.lengths[1] - pair.lengths[0],
    "longer": lambda pair: pair.lengths[0] - pair.lengths[1],
    "first": lambda pair: 1.0,
}


async def measure(bench: Bench) -> Findings:
    """``accuracy`` and its parts, ``log_loss``, ``ece``, ``kappa``, ``flips``, ``first_position``,
    ``prefers_longer`` of every contestant; ``accuracy`` of the naive rules.

    Raises:
        UsageError: no row of the file can be used, or a model has the name of a naive rule.
    """
    if taken := sorted(NAIVE.keys() & {c.name for c in bench.contestants}):
        raise UsageError(
            f"{taken[0]!r} is the name of a rule that models are compared with; name it otherwise"
        )
    found_rows, failures = read_all(bench, NEEDED, pairs_from)
    pairs = drawn(bench, [pair for several in found_rows for pair in several])
    found, unread = await prefer_all(bench, pairs, bench.constitution)
    scores = naive(pairs)
    for name, verdicts in found.items():
        scores |= {f"{metric}/{name}": score for metric, score in _figures(verdicts).items()}
    return Findings(
        {key: score for key, score in scores.items() if score is not None},
        [row(name, verdict) for name, verdicts in found.items() for verdict in verdicts],
        failures + unread,
        _notes(bench, pairs),
    )


def naive(pairs: Sequence[Pair]) -> dict[str, Score | None]:
    """``accuracy/<rule>`` of the rules that read no word; two responses of one length are a miss."""
    return {
        f"accuracy/{name}": accuracy([Verdict(pair, rule(pair)).scored for pair in pairs])
        for name, rule in NAIVE.items()
    }


def _figures(verdicts: Sequence[Verdict]) -> dict[str, Score | None]:
    scored = [verdict.scored for verdict in verdicts]
    return decided(verdicts) | {
        "kappa": kappa(scored),
        "log_loss": log_loss(scored),
        "ece": calibration_error(scored),
        "first_position": first_position(verdicts),
        "prefers_longer": prefers_longer(verdicts),
    }


def _notes(bench: Bench, pairs: Sequence[Pair]) -> tuple[str, ...]:
    rewards = [c.name for c in bench.contestants if reward_folder(c.model) is not None]
    notes = ["shorter, longer and first are rules that read no word, to compare with"]
    if len(rewards) < len(bench.contestants):
        notes.append(f"labelers were asked under {bench.constitution.name}, in both orders")
    if rewards:
        notes.append(f"reward models: {', '.join(rewards)}")
    if ties := sum(pair.p == 0.5 for pair in pairs):
        notes.append(f"{ties} of {len(pairs)} labels are ties, which accuracy and kappa leave out")
    return tuple(notes)
