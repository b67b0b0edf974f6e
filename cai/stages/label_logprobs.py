"""P(the first option) from the options' log-probabilities, which a model gives before it says anything.

They are normalised over the two options (Bai et al. 2022, §4.1). That is a label only where the two hold most
of the probability: a model that was about to write something else has some odds between two letters in its
tail as well, and they mean nothing. So the mass is kept with every label, and below ``label.min_mass`` there
is none. An option outside the list that a server gives is only bounded (``types.Choice``): with u at most
for it and m for the listed one, P(listed) lies between m/(m+u) and 1. The lower end stands where both ends
are within ``NARROW``; a wider range is no label.
"""

from __future__ import annotations

import math

from cai.config.run_config import LabelConfig
from cai.engines.engine import Engine
from cai.run.journal import derive_seed
from cai.stages.label_question import Question
from cai.values.types import Choice, ChoiceRequest, CompletionRequest, Reading, Sampling

NARROW = 0.05  # as wide as what counts as near a tie (``label_worth.NEAR``)


async def read_logprobs(question: Question, engine: Engine, config: LabelConfig, seed: int) -> Reading:
    """Ask once; a thought, where one is asked for, is drawn first.

    Raises:
        ItemError: the engine cannot serve this question.
        EngineError: it can serve none.
    """
    prefill = question.prefill
    if question.opening is not None:
        key = derive_seed(seed, *question.name)
        request = CompletionRequest(question.conversation, Sampling(max_tokens=config.max_tokens), key)
        prefill = question.opening((await engine.complete(request)).text.strip())
    choice = await engine.choose(ChoiceRequest(question.conversation, question.options, prefill))
    return reading_of(choice, config)


def reading_of(choice: Choice, config: LabelConfig) -> Reading:
    """What the log-probabilities of two options say; unscored where they say nothing."""
    first, second = choice.logprobs
    bounded = choice.bounded or (False, False)
    listed = [value for value, bound in zip(choice.logprobs, bounded, strict=True) if not bound]
    mass = min(1.0, math.fsum(map(math.exp, listed)))
    if not listed:
        return Reading(None, 0.0, True, unscored="neither option is among the tokens that the server lists")
    if not mass >= config.min_mass:
        return Reading(None, mass, any(bounded), unscored=too_little(mass, config.min_mass))
    p = probability(first, second, config.temperature)
    if any(bounded) and (open_to := min(p, 1.0 - p)) > NARROW:
        reason = f"an option is not in the server's list: the other's P is only known to {open_to:.2f}"
        return Reading(None, mass, True, unscored=reason)
    return Reading(p, mass, any(bounded))


def too_little(mass: float, least: float) -> str:
    return (
        f"the options hold {100 * mass:.2g} % of the probability: the model was about to say something else "
        f"(label.min_mass is {least:g})"
    )


def probability(first: float, second: float, temperature: float = 1.0) -> float:
    """P(first) from two log-probabilities, normalised over the two: σ((first − second)/temperature)."""
    odds = (second - first) / temperature
    if odds > 700:  # exp would overflow; the probability is 0 in float64
        return 0.0
    return 1.0 / (1.0 + math.exp(odds))
