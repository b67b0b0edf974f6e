"""How far a policy has gone from the model that it started as, in nats per response."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from cai.chat import encoding
from cai.training import quiet
from cai.training.device import kind
from cai.training.examples import SFTRow
from cai.training.updates.loop import load_language_model, load_tokenizer
from cai.training.updates.scoring import example_logprobs
from cai.values.errors import ItemError
from cai.values.types import Response

_ROWS = 16  # of one forward pass


def log_ratios(policy: Path, reference: Path, answers: Sequence[Response]) -> list[float | None]:
    """log π(y|x) - log π_ref(y|x) of every answer y with its end; None where an answer can't be encoded.

    Where π drew the answers, each is the k1 term of KL(π ‖ π_ref) (Schulman 2020). An answer that was cut off
    has no end. One model at a time is in memory, in float32. Both have the tokenizer of ``reference``.
    """
    quiet.before_import()
    tokenizer = load_tokenizer(str(reference))
    rows: dict[int, SFTRow] = {}
    for number, answer in enumerate(answers):
        try:
            ended = answer.finish != "length"
            prompt, completion = encoding.encode_pair(
                tokenizer, answer.prompt.messages, answer.text, ended=ended
            )
        except ItemError:
            continue
        if completion:
            rows[number] = SFTRow(tuple(prompt), tuple(completion), 1.0)
    with quiet.quiet():
        difference = _logprobs(policy, list(rows.values())) - _logprobs(reference, list(rows.values()))
    found: list[float | None] = [None] * len(answers)
    for number, value in zip(rows, difference.tolist(), strict=True):
        found[number] = value
    return found


def _logprobs(folder: Path, rows: Sequence[SFTRow]) -> Tensor:
    """log P of every row's completion under the model in ``folder``: (rows,)."""
    model = load_language_model(str(folder)).to(kind())
    pad = model.config.pad_token_id or 0  # masked everywhere: any id will do
    found = example_logprobs(model, rows, pad, _ROWS)
    del model
    gc.collect()
    return found
