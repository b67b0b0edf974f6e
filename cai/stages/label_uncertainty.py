"""How far a sampled label is known: its interval, and its weight in a training loss.

A label from log-probabilities is what the model says and has neither. Sampled verdicts leave P(a) open: the
posteriors of the questions behind a label (``label_samples.py``) are averaged as their values are, and the
interval is the central 95 % of that.

A row's weight is the share of P's variance that is signal and not chance of drawing. For a P from Jeffreys'
prior, of variance v, k verdicts leave v/(1+k) of it on average, so the share is k/(1+k): the reliability of a
mean of k readings (Spearman 1910; Brown 1910), and the inverse-variance weight v/(v + v/k) of a soft target
with that noise, 1 where there is none. It depends on how many verdicts there are and not on what they say.
The posterior's own variance would not: of equally likely draws it holds the unanimous ones for the surest,
and weights made of it pull every label outwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from cai.stages.label_samples import posterior
from cai.statistics.uncertain import Uncertain, mean, mean_odds, preferred
from cai.values.types import Judgement, Reading


def is_sampled(judgement: Judgement) -> bool:
    return any(reading is not None and reading.votes is not None for reading in judgement.readings)


def known(judgement: Judgement) -> Uncertain:
    """What is known of P(a) under one principle; everything, where no verdict was sampled.

    Of what calibration takes off the mean is taken off, as if that were known exactly.
    """
    found = [_known(reading) for reading in judgement.readings if reading and reading.p is not None]
    if judgement.p_single is not None:
        return preferred(*found)
    orders = [part if n == 0 else part.other() for n, part in enumerate(found)]
    return mean_odds(orders) if judgement.log_odds else mean(orders)


def _known(reading: Reading) -> Uncertain:
    assert reading.p is not None
    found = Uncertain(reading.p) if reading.votes is None else posterior(reading.votes)
    return found.shifted(-reading.shift) if reading.shift else found


def label_interval(judgements: Sequence[Judgement]) -> tuple[float, float] | None:
    """The 95 % interval of the mean over principles; None where nothing was sampled."""
    if not any(map(is_sampled, judgements)):
        return None
    return mean([known(judgement) for judgement in judgements]).interval


def label_weight(judgements: Sequence[Judgement]) -> float:
    """The mean over all questions of k/(1+k), in [1/2, 1]; 1 where nothing was sampled."""
    readings = [reading for judgement in judgements for reading in judgement.readings if reading is not None]
    counts = [reading.votes.usable for reading in readings if reading.votes is not None]
    if not counts:
        return 1.0
    return fmean([1.0] * (len(readings) - len(counts)) + [k / (1.0 + k) for k in counts])
