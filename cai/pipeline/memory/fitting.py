"""The memory plan of a run on this machine: its table, and refusing in time what does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cai.config.run_config import ModelConfig, RunConfig
from cai.data.promptsets import PromptSets
from cai.engines import models
from cai.engines.backend import backend, on_a_server
from cai.engines.machine import Machine, this_machine
from cai.engines.model_shape import measure
from cai.engines.prices import CHARACTERS_PER_TOKEN
from cai.engines.samplers.opening import sampler_name
from cai.pipeline.memory.footprint import GIB, Footprint
from cai.pipeline.memory.memory_plan import Situation, footprints, worst
from cai.pipeline.memory.remedy import remedy, spelled
from cai.training.updates.low_bits import drawn_by
from cai.values.errors import UsageError
from cai.values.types import Conversation

TEMPLATE = 64  # tokens that a chat template adds to a prompt at most, as a rule
_COLUMNS = ("weights", "gradients", "optimizer", "activations", "cache", "runtime")
_HEAD = ("weights", "grads", "adam", "activ.", "k+v", "other")
WIDTH = 80  # columns
TELLING = 0.5  # of the machine's memory, from which a run shows its table by itself


def situation(config: RunConfig, characters: float, voted: bool = False) -> Situation:
    """What the plan needs to know of this machine and the models. ``characters``: of the longest prompt."""
    asked = [config.model, models.critic(config), models.labeler(config), models.judge(config)]
    here = {(model.name, model.revision) for model in asked if not on_a_server(model)}
    here |= {(term.source, None) for term in config.reward if Path(term.source).is_dir()}
    shapes = {name: shape for name, revision in here if (shape := measure(name, revision)) is not None}
    return Situation(
        this_machine(),
        shapes,
        _in_vllm,
        round(characters / CHARACTERS_PER_TOKEN) + TEMPLATE,
        voted or config.human.votes is not None,
        lambda settings: sampler_name(drawn_by(settings)) == "vllm",
    )


def _in_vllm(model: ModelConfig) -> bool:
    return backend(model) == "vllm"


def longest_prompt(sets: PromptSets) -> int:
    """Characters of the longest prompt of the run."""
    return longest([prompt.messages for prompt in (*sets.train, *sets.helpful, *sets.held_out)])


def longest(conversations: Iterable[Conversation]) -> int:
    """Characters of the longest of them; 0 where there is none."""
    return max((sum(len(turn.content) for turn in one) for one in conversations), default=0)


def table(found: Sequence[Footprint], machine: Machine) -> list[str]:
    """The plan in lines of at most 80 columns, in GiB. Steps that need the same stand in one line."""
    groups: dict[tuple[int, ...], list[Footprint]] = {}
    for one in found:
        groups.setdefault(tuple(getattr(one, name) for name in _COLUMNS), []).append(one)
    lines = [f"memory at most, in GiB, of {machine} (adam: optimizer, k+v: keys and values)"]
    if len(lines[0]) > WIDTH:
        lines = [f"memory at most, in GiB, of {machine}", "  (adam: optimizer, k+v: keys and values)"]
    lines.append(f"  {'step':<20}" + "".join(f"{name:>8}" for name in (*_HEAD, "all")))
    for parts, ones in groups.items():
        marked = "" if ones[0].total <= machine.memory else " !"
        numbers = "".join(f"{_gib(value):>8}" for value in (*parts, ones[0].total))
        steps = _wrapped([one.step for one in ones])
        lines.append(f"  {steps[0]:<20}{numbers}{marked}")
        lines += [f"  {more}" for more in steps[1:]]
    return lines


def _wrapped(steps: Sequence[str], width: int = 19) -> list[str]:
    lines = [""]
    for step in steps:
        added = f"{lines[-1]}, {step}" if lines[-1] else step
        if len(added) <= width:
            lines[-1] = added
        else:
            lines.append(step)
    return [line for line in lines if line]


def _gib(value: int) -> str:
    return "-" if value == 0 else f"{value / GIB:.2f}" if value < 100 * GIB else f"{value / GIB:.0f}"


def told(found: Sequence[Footprint], machine: Machine) -> list[str]:
    """What a run says at its start: the table where memory is a matter, else the step that needs most."""
    most = worst(found)
    if most is None:
        return []
    if most.total > TELLING * machine.memory:
        return table(found, machine)
    return [f"memory: at most {_gib(most.total)} GiB ({most.step}) of {machine}"]


def complaint(config: RunConfig, found: Sequence[Footprint], about: Situation) -> str | None:
    """Which steps do not fit, and the settings with which they would; None where all do."""
    short = [one for one in found if one.total > about.machine.memory]
    lines = [_one(config, one, about) for one in short]
    return "\n".join(lines) or None


def _one(config: RunConfig, short: Footprint, about: Situation) -> str:
    def fits(other: RunConfig) -> bool:
        return all(one.total <= about.machine.memory for one in footprints(other, [short.step], about))

    changes = remedy(config, short.step, about.machine, fits)
    how = f"it would with {spelled(changes)}" if changes else "a smaller model or a larger machine would do"
    if any(path.endswith(".lora") for path, _ in changes):
        how += " (with LoRA, learning rates are about ten times as high)"
    return f"{short.step} needs {_gib(short.total)} GiB of {about.machine} and does not fit: {how}"


def require_room(
    config: RunConfig, steps: Iterable[str], characters: float, voted: bool = False
) -> list[str]:
    """What to say of the plan of ``steps``; with ``memory: warn`` what does not fit is among it.

    Raises:
        UsageError: a step does not fit.
    """
    about = situation(config, characters, voted)
    found = footprints(config, steps, about)
    fault = complaint(config, found, about)
    if fault is not None and config.memory == "refuse":
        raise UsageError(
            "\n".join([*table(found, about.machine), fault, "(--set memory=warn goes on all the same)"])
        )
    return [*told(found, about.machine), *([f"warning: {fault}"] if fault else [])]
