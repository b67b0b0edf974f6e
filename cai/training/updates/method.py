"""What a training was asked for, and what differs between one way of training and another.

``sft.py``, ``dpo.py`` and ``reward_model.py`` each hold a ``Method``. Loads no torch itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cai.config.train_config import OptimizerConfig
from cai.training.examples import Encoded


@dataclass(frozen=True, slots=True)
class Training:
    """A training that was asked for: what determines the weights."""

    method: str
    model: str
    items: Sequence[Any]
    config: OptimizerConfig
    seed: int


@dataclass(frozen=True, slots=True)
class Method:
    """One way of training.

    ``tokenizer(path)`` and ``load(path)`` give the tokenizer and the model in float32, or with ``weights`` as
    ``low_bits.weights_of`` says of them. ``encode(tokenizer, items, config)`` gives the rows, ``columns(base,
    rows)`` the trainer's dataset and ``batch(columns, pad)`` a micro-batch of it. ``trainer`` and
    ``arguments`` are the trainer's class and TRL's settings class, which is also given ``settings``. A row is
    ``sequences`` sequences. ``lora`` completes the adapter's settings. ``finish(model, base, rows)`` has the
    last word on the model, merged and in the precision of its files.
    """

    tokenizer: Callable[[str], Any]
    load: Callable[..., Any]
    encode: Callable[[Any, Sequence[Any], Any], Encoded[Any]]
    columns: Callable[[Any, Sequence[Any]], dict[str, list[Any]]]
    batch: Callable[[dict[str, list[Any]], int], Any]
    trainer: Callable[..., Any]
    arguments: Callable[..., Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    sequences: int = 1
    lora: Mapping[str, Any] = field(default_factory=lambda: {"task_type": "CAUSAL_LM"})
    finish: Callable[[Any, Any, Sequence[Any]], None] = lambda model, base, rows: None
