"""What GRPO and RLOO report of a step's responses. Dimensions: B responses, R response tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cai.training.rl.rollouts import Rollout
from cai.values.errors import TrainingError

Figures = dict[str, float]


def measure(
    rollouts: Sequence[Rollout], kl: Tensor, drift: Tensor, mask: Tensor, add: Callable[[Tensor], Tensor]
) -> Figures:
    """Means over the responses of all processes.

    ``kl`` is log π - log π_ref, ``drift`` log π - log π_sampler, both (B, R) and 0 where ``mask`` is. Their
    sums over a response estimate KL(π ‖ π_ref) in nats (k1; Schulman 2020). ``add`` sums over processes.

    Raises:
        TrainingError: not one response has a score.
    """
    kept = [row for row in rollouts if row.score is not None]
    sums: list[float] = [
        len(rollouts),
        float(mask.sum()),
        len(kept),
        sum(row.reward or 0.0 for row in kept),
        sum(row.score or 0.0 for row in kept),
        float(kl.sum()),
        float(drift.abs().sum()),
        sum(row.finish == "length" for row in rollouts),
    ]
    total = add(torch.tensor(sums, dtype=torch.float32, device=mask.device))
    count, tokens, scored, reward, score, kls, drifts, cut = total.tolist()
    if not scored:
        reason = next((row.reason for row in rollouts if row.reason), "no reason given")
        raise TrainingError(
            f"no response of this step has a score ({reason}). "
            "Check the reward on a few responses, then run again."
        )
    return {
        "reward": reward / scored,
        "score": score / scored,
        "unscored": 1.0 - scored / count,
        "kl": kls / count,
        "length": tokens / count,
        "cut_off": cut / count,
        "sampler_drift": drifts / tokens,
    }


def sampled_logprobs(rollouts: Sequence[Rollout], mask: Tensor) -> Tensor:
    """The sampler's log-probabilities, padded on the right with 0 to the shape of ``mask``: (B, R)."""
    rows = [torch.tensor(rollout.logprobs) for rollout in rollouts]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return torch.nn.functional.pad(padded, (0, mask.shape[1] - padded.shape[1])).to(mask.device)


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
