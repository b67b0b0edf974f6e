"""Settings that suit a model by its size and its context: which files of ``presets/sizes`` apply, and why.

A model that ships with cai has a preset of its own (``resources.preset``) and none of these. Below 2B weights
and 4,096 tokens of context the defaults are what suits. Every setting on a higher level wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from cai.config.run_config import RunConfig
from cai.config.yamlfile import read_yaml

ADAPTERS = 2_000_000_000  # weights from which a model is trained by an adapter
CONTEXTS = ((8192, "answers_1024"), (4096, "answers_512"))
SERVED = ("openai", "openai-responses", "anthropic")


class Sized(Protocol):
    """A model's number of weights, and its context in tokens."""

    @property
    def weights(self) -> int: ...
    @property
    def context(self) -> int: ...


Measure = Callable[[str, str | None], Sized | None]
"""From a model's name and revision to its size; None where it cannot be had."""


def size_presets(model: Sized) -> list[Path]:
    """The files that apply to ``model``."""
    names = ["adapters"] if model.weights >= ADAPTERS else []
    names += [name for least, name in CONTEXTS if model.context >= least][:1]
    folder = Path(__file__).with_name("presets") / "sizes"
    return [folder / f"{name}.yaml" for name in names]


def presets_by_size(model: Any, measure: Measure) -> list[Path]:
    """The files that apply to the model that ``model`` names, which is a mapping that nobody has checked."""
    name = model.get("name") if isinstance(model, Mapping) else model
    own = model if isinstance(model, Mapping) else {}
    revision = own.get("revision")
    if not isinstance(name, str) or own.get("engine") in SERVED:
        return []
    sized = measure(name, revision if isinstance(revision, str) else None)
    return size_presets(sized) if sized is not None else []


def told(config: RunConfig, model: Sized) -> str | None:
    """What was chosen for ``model`` and why, in one line; None where nothing was."""
    files = size_presets(model)
    if not files:
        return None
    wanted: dict[str, Any] = {}
    for file in files:
        wanted |= _leaves(read_yaml(file).data)
    now = _leaves(config.model_dump(mode="json"))
    other = [name for name, value in wanted.items() if now.get(name) != value]
    kept = len(wanted) - len(other)
    parts = []
    if model.weights >= ADAPTERS:
        rate = config.sft.learning_rate
        parts.append(f"{model.weights / 1e9:.1f}B weights: LoRA, ten times the usual rates (sft {rate:g})")
    if len(files) > (model.weights >= ADAPTERS):
        parts.append(f"context {model.context:,}: answers to {config.generate.max_tokens} tokens")
    yours = f"; yours instead: {', '.join(other[:4])}{', …' if len(other) > 4 else ''}" if other else ""
    return f"preset for {'; '.join(parts)} ({kept} settings, any --set wins{yours})"


def _leaves(data: Any, above: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` → ``{"a.b": 1}``."""
    if not isinstance(data, Mapping):
        return {above: data}
    found: dict[str, Any] = {}
    for key, inner in data.items():
        found |= _leaves(inner, f"{above}.{key}" if above else str(key))
    return found
