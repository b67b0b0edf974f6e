"""Best-of-n: of several responses to a prompt, the one with the highest reward (Stiennon et al. 2020).

As data it is rejection sampling: the best are learned by SFT. As a baseline it needs no training at all.
What it costs, how far its distribution is from the model's own, has a closed bound; what fewer samples
would have given can be estimated from the same n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, log

from cai.rewards.reward import Scored
from cai.values.errors import ItemError
from cai.values.types import Demonstration, Response


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of several responses to a prompt, its reward, and whether it was the best of them."""

    response: Response
    scored: Scored
    chosen: bool = False


def pick(responses: Sequence[Response], scored: Sequence[Scored]) -> list[Candidate]:
    """The responses to *one* prompt with exactly one of them chosen: the first of the highest reward.

    What is unscored is never chosen. Order stays.

    Raises:
        ItemError: none of them has a reward.
    """
    best: int | None = None
    top = 0.0
    for index, score in enumerate(scored):
        if score.value is not None and (best is None or score.value > top):
            best, top = index, score.value
    if best is None:
        reason = scored[0].reason if scored else "there is none"
        raise ItemError("no response has a reward", f"{len(scored)} responses; the first: {reason}")
    pairs = enumerate(zip(responses, scored, strict=True))
    return [Candidate(response, score, index == best) for index, (response, score) in pairs]


def demonstration(candidate: Candidate) -> Demonstration:
    """A chosen response as something to learn by SFT."""
    return Demonstration(candidate.response.prompt, candidate.response.text, "best")


def kl_bound(n: int) -> float:
    """Upper bound, in nats per response, on KL(best-of-n ‖ the model): log n − (n − 1)/n.

    Long taken for the divergence itself (Stiennon et al. 2020, App. G.3); Beirami et al. 2024
    (arXiv 2401.01879, Theorem 3.1) prove that it is only an upper bound, tight where every single response
    is improbable. Where rewards tie or a prompt has few likely responses, the truth is far below.
    """
    return log(n) - (n - 1) / n


def expected_best(rewards: Sequence[float], k: int) -> float:
    """Unbiased estimate of E[highest reward of k responses], from the rewards of n ≥ k of them.

    With the rewards in ascending order r₍₁₎ ≤ … ≤ r₍ₙ₎:  Σᵢ₌ₖⁿ r₍ᵢ₎ · C(i−1, k−1) / C(n, k).

    r₍ᵢ₎ is the highest of a k-subset exactly when the other k − 1 are among the i − 1 before it, so this is
    the mean of the maximum over all k-subsets: Hoeffding's U-statistic (1948) with the maximum as kernel.
    Ties change nothing. Raises ValueError unless 1 ≤ k ≤ n.
    """
    n = len(rewards)
    if not 1 <= k <= n:
        raise ValueError(f"the best of {k} cannot be estimated from {n} rewards")
    ordered = enumerate(sorted(rewards), 1)
    return sum(reward * (comb(i - 1, k - 1) / comb(n, k)) for i, reward in ordered)


def sizes(n: int) -> list[int]:
    """1, 2, 4, … and ``n``: the k at which a curve of best-of-k is shown."""
    return sorted({1 << power for power in range(n.bit_length()) if 1 << power <= n} | {n})
