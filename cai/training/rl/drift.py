"""Whether a sampler draws from the weights that it was given: checked after every sync, before any scoring.

A sampler gives the log-probability of every token that it drew; here the model in training reads a few of
the step's own responses again. Where a sampler loads new weights wrongly, as vLLM does for some mixtures of
experts, nothing else would say so: the responses are another policy's, and the training learns from them.

The bound is that of the coarser number format of the two. In half precision it is an estimate from CPUs: six
times the largest mean over four responses that ``benchmarks/number_formats.py`` found between a trainer and
a sampler (0.050 in bfloat16, 0.006 in float16, both with SmolLM2-135M; docs/lab-notes.md, 2026-11-28).
GPUs round otherwise and deeper models more. In float32 hand-overs were measured at 4e-4 nats per token or
less. Wrong ones were measured at 1.0 to 1.4 (experts) and at 0.10 (a small model's stale output layer), which
bfloat16 would hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cai.engines.samplers.sampler import Draw, Sampler
from cai.engines.samplers.sampler_transformers import drawing
from cai.training.updates.batches import padded
from cai.training.updates.losses import token_logprobs
from cai.values.errors import TrainingError

HELD = 4
"""Responses of a step that are read again."""

BOUNDS = {torch.float32: 0.01, torch.float16: 0.04, torch.bfloat16: 0.3}
"""Mean |log π_trainer - log π_sampler| per token, in nats."""


def require_following(
    sampler: Sampler,
    model: Any,
    prompts: Sequence[Sequence[int]],
    draws: Sequence[Draw],
    *,
    temperature: float,
    dtype: torch.dtype,
    step: int,
) -> float:
    """The mean |Δ log p| per token over ``HELD`` of ``draws``, which follow ``prompts``.

    ``model`` is as it was when ``sampler`` was given it, and computes in ``dtype``.

    Raises:
        TrainingError: it is beyond the bound; says what to do.
    """
    drawn = [(prompt, draw) for prompt, draw in zip(prompts, draws, strict=True) if draw.ids]
    held = drawn[:: max(1, len(drawn) // HELD)][:HELD]
    if not held:
        return 0.0
    read = torch.cat([_read(model, prompt, draw.ids, temperature, dtype) for prompt, draw in held])
    said = torch.tensor([logprob for _, draw in held for logprob in draw.logprobs], dtype=torch.float64)
    drift = float((read - said).abs().mean())
    coarsest = max((dtype, getattr(torch, sampler.dtype)), key=lambda name: BOUNDS.get(name, 0.0))
    # Differences of logits are divided by the temperature, too.
    bound = BOUNDS[coarsest] / min(1.0, temperature)
    if not drift <= bound:  # nor where it is not a number
        name = str(coarsest).removeprefix("torch.")
        raise TrainingError(
            f"step {step + 1}: the sampler does not draw from the model in training: the log-probabilities "
            f"of its tokens are off by {drift:.3g} nats on average, and {name} explains {bound:.3g}. Its "
            "weights are not those that it was given last, or it computes another model from them. Use "
            "sampler: transformers and run again; the responses of earlier steps are kept."
        )
    return drift


@torch.no_grad()
def _read(
    model: Any, prompt: Sequence[int], ids: Sequence[int], temperature: float, dtype: torch.dtype
) -> torch.Tensor:
    """log π at ``temperature`` of every token of ``ids``: (R,). Read alone, without padding."""
    batch = padded([(prompt, ids)], 0)
    device = next(model.parameters()).device
    with drawing(model), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = model(
            input_ids=batch["ids"].to(device),
            attention_mask=batch["attention"].to(device),
            use_cache=False,
        ).logits[0, len(prompt) - 1 : -1]
    scaled = logits.float() / temperature
    return token_logprobs(scaled, torch.tensor(list(ids), device=device)).double().cpu()
