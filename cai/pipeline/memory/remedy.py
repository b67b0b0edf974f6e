"""The settings with which a step that does not fit would fit: the smallest change that does it.

Tried in the order in which they cost least: how rows are cut into passes changes no result, 8-bit moments
hardly any, an adapter and shorter rows another training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cai.config.run_config import RunConfig
from cai.config.train_config import SECTIONS
from cai.engines.machine import Machine

Fits = Callable[[RunConfig], bool]
Change = tuple[str, Any]

_ASKED = {"revise": "critic", "label": "labeler", "grade": "evaluate.judge"}
LORA = {"r": 16, "alpha": 32}


def remedy(config: RunConfig, step: str, machine: Machine, fits: Fits) -> tuple[Change, ...]:
    """Settings with their values that together make ``step`` fit; empty where none of them does.

    Each alone first, then one after the other.
    """
    ladder = list(_ladder(config, step, machine))
    for change in ladder:
        if fits(changed(config, (change,))):
            return (change,)
    together: dict[str, Any] = {}
    for name, value in ladder:
        together[name] = value
        if fits(changed(config, tuple(together.items()))):
            return tuple(together.items())
    return ()


def _ladder(config: RunConfig, step: str, machine: Machine) -> Iterator[Change]:
    gpu, section = machine.kind == "cuda", SECTIONS.get(step)
    if section is None:
        yield from _of_a_model(config, step, machine)
        return
    settings = getattr(config, section)
    for size in _halves(settings.micro_batch_size):
        yield f"{section}.micro_batch_size", size
    if getattr(settings, "critic", None) == "separate":
        yield f"{section}.critic", "shared"
    if gpu and settings.lora is None:
        yield f"{section}.optimizer", "adamw_8bit"
    if step in ("ppo", "grpo", "rloo") and settings.sampler != "transformers":
        yield f"{section}.sampler", "transformers"
    if settings.lora is None:
        yield f"{section}.lora", LORA
    if gpu and settings.lora is None:
        yield f"{section}.lora", {**LORA, "quantize": "4bit"}
    elif gpu and settings.lora.quantize is None:
        yield f"{section}.lora.quantize", "4bit"
    length = "max_length" if hasattr(settings, "max_length") else "max_tokens"
    for size in _halves(getattr(settings, length), least=256):
        yield f"{section}.{length}", size


def _of_a_model(config: RunConfig, step: str, machine: Machine) -> Iterator[Change]:
    """What makes a model that answers smaller."""
    place = _ASKED.get(step, "model")
    here: Any = config
    for part in place.split("."):
        here = getattr(here, part)
    place = place if here is not None else "model"
    model = here or config.model
    if model.dtype == "float32":
        yield f"{place}.dtype", "bfloat16"
    gpus = [2**n for n in range(1, 5) if 2**n <= machine.count]
    for count in gpus if machine.kind == "cuda" else ():
        yield f"{place}.vllm", {**model.vllm, "tensor_parallel_size": count}
    if machine.kind == "cuda" and "quantization" not in model.vllm:
        yield f"{place}.vllm", {**model.vllm, "quantization": "fp8"}
        yield f"{place}.vllm", {**model.vllm, "quantization": "bitsandbytes"}


def _halves(value: int, least: int = 1) -> Iterator[int]:
    while value // 2 >= least:
        value //= 2
        yield value


def changed(config: RunConfig, changes: tuple[Change, ...]) -> RunConfig:
    """``config`` with other values at dotted places."""
    data = config.model_dump()
    for path, value in changes:
        *front, last = path.split(".")
        here = data
        for part in front:
            here = here[part]
        here[last] = value
    return RunConfig.model_validate(data)


def spelled(changes: tuple[Change, ...]) -> str:
    """``--set dpo.micro_batch_size=2 --set 'dpo.lora={r: 16, alpha: 32}'``"""
    return " ".join(f"--set {_quoted(path, value)}" for path, value in changes)


def _quoted(path: str, value: Any) -> str:
    if not isinstance(value, dict):
        return f"{path}={value}"
    inner = ", ".join(f"{key}: {each}" for key, each in value.items() if each is not None)
    return f"'{path}={{{inner}}}'"
