"""What trainings have in memory: weights, gradients, optimizer, and one micro-batch's activations.

A training in full holds float32 weights, their gradients and Adam's two moments: 16 bytes a weight, 10 with
8-bit moments (Dettmers et al. 2022, arXiv 2110.02861). With LoRA (Hu et al. 2021) only the adapter is learned
so; on a GPU the base below it is in bfloat16, or in 4 bits (Dettmers et al. 2023, arXiv 2305.14314).
"""

from __future__ import annotations

from dataclasses import dataclass

from cai.config.train_config import OptimizerConfig, PPOConfig, RolloutConfig
from cai.engines.machine import Machine
from cai.engines.model_shape import LARGE, WRITTEN_OUT, ModelShape
from cai.pipeline.memory.activations import Pass, casts, first_gradient, kept, logits
from cai.pipeline.memory.footprint import RUNTIME, Footprint

_MOMENTS = {"adamw": 8, "adamw_8bit": 2}  # bytes per weight that learns
_FOUR_BITS = 0.52  # bytes per weight of a linear layer: NF4 with its scales quantized, too
_COPIES = 2  # of logits: themselves and their gradient (training/updates/losses.py)
#: By how much more an allocator takes than it is asked for, since what is free lies in pieces: on a CPU as
#: measured, on a GPU an estimate (docs/memory.md).
_PIECES = {"cpu": 1.2, "cuda": 1.1}
_TRL_COPIES = 6  # likewise in TRL's trainers, measured (docs/memory.md)


@dataclass(frozen=True, slots=True)
class Rows:
    """The longest rows that a training may see: ``tokens`` with the prompt, ``scored`` of them learned."""

    tokens: int
    scored: int


def supervised(
    step: str,
    config: OptimizerConfig,
    shape: ModelShape,
    machine: Machine,
    rows: Rows,
    *,
    pairs: bool = False,
) -> Footprint:
    """SFT, or with ``pairs`` DPO and the reward model, which has no output layer."""
    one = micro_batch(config, shape, machine, rows, 2 if pairs else 1)
    scores = logits(shape, one, _COPIES) + first_gradient(shape, one) if step != "reward" else 0
    weights, learned = _weights(config, shape, machine), _learned(config, shape)
    return Footprint(
        step,
        "the model" + ("" if config.lora is None else " and an adapter"),
        weights=weights,
        gradients=4 * learned,
        optimizer=_MOMENTS[config.optimizer] * learned,
        activations=int(_PIECES[machine.kind] * (kept(shape, one) + casts(shape, one) + scores)),
        runtime=RUNTIME[machine.kind],
    )


def online(step: str, config: RolloutConfig, shape: ModelShape, machine: Machine, rows: Rows) -> Footprint:
    """PPO, GRPO or RLOO, without their sampler and reward."""
    one = micro_batch(config, shape, machine, rows, 1)
    weights, learned, models = _weights(config, shape, machine), _learned(config, shape), "policy, reference"
    if config.lora is None:
        weights += 4 * shape.weights  # the reference
    else:
        models = "base with an adapter"
    if isinstance(config, PPOConfig) and config.critic == "separate":
        critic = shape.weights - shape.output_layer if config.lora is None else _learned(config, shape)
        weights, learned, models = weights + 4 * critic, learned + critic, f"{models}, critic"
    copies = _COPIES if isinstance(config, PPOConfig) else _TRL_COPIES
    scores = logits(shape, one, copies) + first_gradient(shape, one)
    return Footprint(
        step,
        models,
        weights=weights,
        gradients=4 * learned,
        optimizer=_MOMENTS[config.optimizer] * learned,
        activations=int(_PIECES[machine.kind] * (kept(shape, one) + casts(shape, one) + scores)),
        runtime=RUNTIME[machine.kind],
    )


def micro_batch(
    config: OptimizerConfig | RolloutConfig, shape: ModelShape, machine: Machine, rows: Rows, sequences: int
) -> Pass:
    """The largest micro-batch: as many of the longest rows as ``micro_batch_size`` says."""
    half = machine.bfloat16 if config.dtype == "auto" else config.dtype == "bfloat16"
    number = config.micro_batch_size * sequences
    written = 8 * number * rows.tokens**2 * shape.heads * shape.layers
    return Pass(
        rows=number,
        tokens=rows.tokens,
        scored=rows.scored,
        half=half,
        half_weights=half and config.lora is not None and machine.kind == "cuda",
        rank=config.lora.r if config.lora else 0,
        eager=machine.kind == "cpu" and half and written <= WRITTEN_OUT,
        checkpoints=machine.kind == "cuda" and shape.weights >= LARGE,
    )


def _learned(config: OptimizerConfig | RolloutConfig, shape: ModelShape) -> int:
    """How many weights learn."""
    return shape.weights if config.lora is None else config.lora.r * shape.adapted


def _weights(config: OptimizerConfig | RolloutConfig, shape: ModelShape, machine: Machine) -> int:
    """Bytes of the model in training and of its adapter."""
    if config.lora is None:
        return 4 * shape.weights
    adapter = 4 * _learned(config, shape)
    half = machine.bfloat16 if config.dtype == "auto" else config.dtype == "bfloat16"
    if machine.kind != "cuda":
        return 4 * shape.weights + adapter
    size = 2 if half else 4
    if config.lora.quantize is None:
        return size * shape.weights + adapter
    tables = shape.vocabulary * shape.hidden + shape.output_layer
    return int(_FOUR_BITS * (shape.weights - tables)) + size * tables + adapter
