"""Every step's footprint, from the configuration, the shapes of its models and the machine. Pure.

The lengths are those that may be: the longest prompt and answers as long as ``max_tokens`` lets them be, cut
off at ``max_length``. Rows of people's votes may be as long as ``max_length``. A step whose model is on a
server, or whose shape cannot be had, has no footprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cai.config.run_config import ModelConfig, RunConfig
from cai.config.train_config import SECTIONS, RewardTerm, RolloutConfig
from cai.engines import models
from cai.engines.machine import Machine
from cai.engines.model_shape import ModelShape
from cai.pipeline.memory.asking import SHARE, asked, in_transformers, sampled, size_of
from cai.pipeline.memory.footprint import Footprint
from cai.pipeline.memory.learning import Rows, online, supervised

INSTRUCTIONS = 1024  # tokens of a critic's or labeler's question beside prompt and answers, examples included


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan is made from beside the configuration.

    ``shapes``: of every model in this process, by its name; ``vllm``: whether vLLM runs it, ``sampler``:
    whether it draws for a training. ``prompt``: tokens of the longest prompt. ``voted``: whether people's
    votes join, whose texts may be of any length.
    """

    machine: Machine
    shapes: Mapping[str, ModelShape]
    vllm: Callable[[ModelConfig], bool]
    prompt: int
    voted: bool = False
    sampler: Callable[[RolloutConfig], bool] = field(default=lambda config: config.sampler != "transformers")


def footprints(config: RunConfig, steps: Iterable[str], about: Situation) -> list[Footprint]:
    """The footprint of each of ``steps`` that has a model in this process, in their order."""
    found = [_MADE[step](step, config, about) for step in steps if step in _MADE]
    return [one for one in found if one is not None]


def _policy(config: RunConfig, about: Situation) -> ModelShape | None:
    return about.shapes.get(config.model.name)


def _answering(who: str, pick: _Pick, length: Callable[[RunConfig], int]) -> _Make:
    def made(step: str, config: RunConfig, about: Situation) -> Footprint | None:
        model = pick(config)
        shape = about.shapes.get(model.name)
        if shape is None:
            return None
        tokens = about.prompt + length(config)
        tokens = min(tokens, model.max_model_len or tokens, shape.context or tokens)
        return asked(step, who, model, shape, machine=about.machine, tokens=tokens, vllm=about.vllm(model))

    return made


def _supervised(step: str, config: RunConfig, about: Situation) -> Footprint | None:
    shape, settings = _policy(config, about), getattr(config, SECTIONS[step])
    if shape is None:
        return None
    answer = config.best_of_n.max_tokens if step == "best-sft" else config.revise.max_tokens
    if step in ("dpo", "reward"):
        answer = config.sample.max_tokens
    tokens = min(settings.max_length, about.prompt + answer)
    if about.voted and step in ("dpo", "reward"):
        answer = tokens = settings.max_length
    rows = Rows(tokens, min(tokens, answer))
    return supervised(step, settings, shape, about.machine, rows, pairs=step in ("dpo", "reward"))


def _online(step: str, config: RunConfig, about: Situation) -> Footprint | None:
    shape, settings = _policy(config, about), getattr(config, step)
    if shape is None:
        return None
    prompt = min(about.prompt, settings.max_prompt_tokens)
    rows = Rows(prompt + settings.max_tokens, settings.max_tokens)
    return _with_sampler(
        _with_rewards(online(step, settings, shape, about.machine, rows), config, about),
        settings, shape, about, rows.tokens,
    )  # fmt: skip


def _with_rewards(own: Footprint, config: RunConfig, about: Situation) -> Footprint:
    """Reward models and judges lie in memory beside the learner, in the precision in which they score."""
    size = 2 if about.machine.kind == "cuda" else 4
    for term in config.reward:
        shape, size_here, who = _rewarding(term, config, about, size)
        if shape is not None:
            own = replace(own, models=f"{own.models}, {who}", weights=own.weights + size_here * shape.weights)
    return own


def _rewarding(
    term: RewardTerm, config: RunConfig, about: Situation, size: int
) -> tuple[ModelShape | None, int, str]:
    if term.source == "judge":
        labeler = models.labeler(config)
        shape = about.shapes.get(labeler.name)
        return shape, size_of(labeler.dtype, shape, about.machine) if shape else 0, "judge"
    name = config.model.name if term.source == "model" else term.source
    return about.shapes.get(name), size, "reward model"


def _with_sampler(
    own: Footprint, config: RolloutConfig, shape: ModelShape, about: Situation, tokens: int
) -> Footprint:
    """Who draws: vLLM has weights of its own, transformers the learner's."""
    size, machine = size_of("auto", shape, about.machine), about.machine
    if not about.sampler(config):
        size = 2 if config.lora is not None and machine.kind == "cuda" else 4
        rows = config.prompts * getattr(config, "group_size", 1)
        drawn = in_transformers(shape, machine, size, tokens, rows)
        # Drawn before anything is kept for a backward pass: the larger of the two.
        return replace(own, activations=max(own.activations, drawn.activations + drawn.cache))
    drawn = sampled(shape, machine, size, tokens, machine.memory - own.total)
    return replace(
        own,
        models=f"{own.models}, vLLM",
        weights=own.weights + size * shape.weights,
        activations=max(own.activations, drawn.activations),
        cache=drawn.cache,
    )


def sampler_share(config: RunConfig, method: str, about: Situation) -> dict[str, Any]:
    """vLLM's arguments with which a sampler leaves room for its learner on a GPU; none on a CPU.

    vLLM starts where the share is free, whatever of it is then used: so it starts first, and with no more
    than its weights, a batch, and keys and values for what is left beside the learner.
    """
    settings: RolloutConfig = getattr(config, method)
    shape, machine = _policy(config, about), about.machine
    if machine.kind != "cuda" or shape is None or not about.sampler(settings):
        return {}
    learner = _online(method, config, replace(about, sampler=lambda config: False))
    assert learner is not None
    size = size_of("auto", shape, machine)
    tokens = min(about.prompt, settings.max_prompt_tokens) + settings.max_tokens
    drawn = sampled(shape, machine, size, tokens, machine.memory - learner.total)
    share = (size * shape.weights + drawn.activations + drawn.cache) / machine.memory
    return {"gpu_memory_utilization": round(min(SHARE, share), 4), "kv_cache_memory_bytes": drawn.cache}


_Make = Callable[[str, RunConfig, Situation], Footprint | None]
_Pick = Callable[[RunConfig], ModelConfig]


def _of(section: str) -> Callable[[RunConfig], int]:
    return lambda config: int(getattr(config, section).max_tokens)


def _own(config: RunConfig) -> ModelConfig:
    return config.model


def _revised(config: RunConfig) -> int:
    return INSTRUCTIONS + config.generate.max_tokens + 2 * config.revise.max_tokens


def _labeled(config: RunConfig) -> int:
    return INSTRUCTIONS + 2 * config.sample.max_tokens


def _graded(config: RunConfig) -> int:
    return INSTRUCTIONS + config.evaluate.max_tokens


_MADE: Mapping[str, _Make] = {
    "generate": _answering("policy", _own, _of("generate")),
    "revise": _answering("critic", models.critic, _revised),
    "answer-base": _answering("policy", _own, _of("evaluate")),
    "sft": _supervised,
    "sample": _answering("policy", _own, _of("sample")),
    "answer-sft": _answering("policy", _own, _of("evaluate")),
    "label": _answering("labeler", models.labeler, _labeled),
    "dpo": _supervised,
    "reward": _supervised,
    "ppo": _online,
    "grpo": _online,
    "rloo": _online,
    "best-sample": _answering("policy", _own, _of("best_of_n")),
    "best-sft": _supervised,
    "answer-best-of-n": _answering("policy", _own, _of("best_of_n")),
    "answer-policy": _answering("policy", _own, _of("evaluate")),
    "grade": _answering("judge", models.judge, _graded),
}


#: Steps that may have a model in memory.
PLANNED = frozenset(_MADE)


def worst(found: Sequence[Footprint]) -> Footprint | None:
    """The step that needs most."""
    return max(found, key=lambda one: one.total, default=None)
