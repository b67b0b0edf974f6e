"""One configuration from six places, each value remembered with where it was written.

Highest first: command-line flag, ``--set a.b=v``, ``CAI_A__B`` variables, the YAML file, the preset of
the model (a shipped one's own, else by its size), the defaults in ``run_config.py``. Values on the command
line and in variables are read as in YAML: ``4`` is a number, ``[1, 2]`` a list, ``no`` is text.

A model may be written short, as its name, in each of them: ``critic: X`` is ``critic.name: X`` and is merged
as such, so that none undoes the engine or the address that another one wrote.

Paths on the command line are relative to the current folder. Those in a YAML file are looked for in the
current folder first and in the file's own folder second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cai.config.resources import preset, shipped_constitutions
from cai.config.run_config import ModelConfig, RunConfig
from cai.config.size_presets import Measure, presets_by_size
from cai.config.validation import Fault, KeyPath, explain, section_at
from cai.config.yamlfile import parse_yaml, read_yaml, scalar
from cai.values.errors import FileError, Problem, UsageError

PREFIX = "CAI_"
PATHS: tuple[KeyPath, ...] = (
    ("constitution",),
    ("prompts",),
    ("templates",),
    ("sft", "helpful_prompts"),
    ("evaluate", "prompts"),
    ("human", "votes"),
)

# From a fault to the line that shows it, with the place where its value was written.
Locate = Callable[[Fault], Problem]


@dataclass(frozen=True, slots=True)
class _Written:
    """``value`` at ``path``, how to show a fault there, and at which level: the command line is one."""

    level: int
    path: KeyPath
    value: Any
    locate: Locate


PRESET, FILE, VARIABLE, COMMAND_LINE = range(4)


@dataclass(slots=True)
class _Merged:
    """Nested values, and for each path that was written, how to show a fault there and who wrote it last.

    ``level``: of the place that is being read.
    """

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Locate] = field(default_factory=dict)
    levels: dict[KeyPath, int] = field(default_factory=dict)
    level: int = PRESET

    def put(self, path: KeyPath, value: Any, locate: Locate) -> None:
        """Write ``value``; a mapping is merged key by key, anything else replaces what was there."""
        if isinstance(value, str) and section_at(RunConfig, path) is ModelConfig:
            path = (*path, "name")
        if isinstance(value, dict):
            self.reach(path)
            self._wrote(path, locate)
            for key, inner in value.items():
                self.put((*path, key), inner, locate)
            return
        parent = self.reach(path[:-1])
        if path[-1] == "name" and parent.get("name", value) != value:
            self._drop_revision(path[:-1])
        parent[str(path[-1])] = value
        self._forget(path)
        self._wrote(path, locate)

    def _drop_revision(self, model: KeyPath) -> None:
        """A revision belongs to the model that it was written for: a higher level has named another one."""
        revision = (*model, "revision")
        if section_at(RunConfig, model) is ModelConfig and self.levels.get(revision, self.level) < self.level:
            self.reach(model).pop("revision", None)
            self._forget(revision)

    def _wrote(self, path: KeyPath, locate: Locate) -> None:
        self.origins[path], self.levels[path] = locate, self.level

    def _forget(self, path: KeyPath) -> None:
        """Nobody has written ``path`` or anything below it any more."""
        for place in [place for place in self.origins if place[: len(path)] == path]:
            del self.origins[place], self.levels[place]

    def reach(self, path: KeyPath) -> dict[str, Any]:
        """The mapping at ``path``, made where it is missing or where a plain value stands."""
        here = self.data
        for depth, part in enumerate(path, 1):
            inner = here.get(str(part))
            if not isinstance(inner, dict):
                self._forget(path[:depth])  # the value that stood there is gone
                inner = here[str(part)] = {}
            here = inner
        return here

    def drop_rates_of_adapters(self) -> None:
        """A preset's learning rate is an adapter's: whoever has taken the adapter off gets the default."""
        for section in [path for path in self.levels if path[1:] == ("learning_rate",)]:
            here = self.reach(section[:1])
            if self.levels[section] == PRESET and "lora" in here and here["lora"] is None:
                del here["learning_rate"]
                self._forget(section)

    def problem(self, fault: Fault) -> Problem:
        """The fault, shown where the nearest value at, below or above its path was written."""
        path = fault.path
        # Whoever wrote below a path made it what it is; whoever wrote above may know nothing of it.
        below = [place for place in self.origins if place[: len(path)] == path]
        above = [path[:end] for end in range(len(path) - 1, 0, -1) if path[:end] in self.origins]
        nearest = path if path in self.origins else next(iter([*below, *above]), None)
        return self.origins[nearest](fault) if nearest else Problem("configuration", fault.message)


def resolve(
    config_file: Path | str | None,
    sets: Sequence[str],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    measure: Measure | None = None,
) -> RunConfig:
    """Merge and check. ``flags`` maps dotted names to values; a value of None means "not given".

    ``measure`` tells a model's size, by which presets apply (``size_presets.py``); without it none do.

    Raises FileError listing every fault with its place (``config.yaml:3:5``, ``--set sft.lr=1``,
    ``CAI_LIMIT``), and UsageError for a ``--set`` that is not ``a.b=v``.
    """
    written = _of_file(FILE, Path(config_file)) if config_file is not None else []
    for name in sorted(environ):
        if name.startswith(PREFIX) and environ[name].strip():
            parts = tuple(name.removeprefix(PREFIX).lower().split("__"))
            written.append(_Written(VARIABLE, parts, _value(environ[name], name), _named(name)))
    for text in sets:
        path, value = _split(text)
        written.append(_Written(COMMAND_LINE, path, value, _named(f"--set {text}")))
    for name, value in flags.items():
        if value is not None:
            plain = str(value) if isinstance(value, Path) else value
            written.append(_Written(COMMAND_LINE, tuple(name.split(".")), plain, _named(_flag(name))))
    merged = _merge(written)
    if (own := _preset_of(merged.data)) is not None:
        merged = _merge([*_of_file(PRESET, own), *written])
    elif measure is not None and (suited := presets_by_size(merged.data.get("model"), measure)):
        merged = _merge([*(one for path in suited for one in _of_file(PRESET, path)), *written])
        merged.drop_rates_of_adapters()
    try:
        return RunConfig.model_validate(merged.data)
    except ValidationError as error:
        faults = explain(error, RunConfig, merged.data)
        problems = [merged.problem(fault) for fault in faults]
        problems.sort(key=lambda problem: (problem.file, problem.line or 0, problem.column or 0))
        raise FileError(problems) from None


def before_size_presets(recorded: Path) -> bool:
    """Whether a run's ``config.yaml`` was written by a cai that had no presets by size."""
    if not recorded.is_file():
        return False
    data = read_yaml(recorded).data
    section = data.get("sft") if isinstance(data, dict) else None
    return isinstance(section, dict) and "optimizer" not in section


def config_schema() -> dict[str, Any]:
    """JSON Schema of a configuration file, for editors."""
    from cai.config.schema import editor_schema

    return editor_schema(RunConfig, "cai configuration")


def _merge(written: Sequence[_Written]) -> _Merged:
    """All of it, from the lowest place to the highest."""
    merged = _Merged()
    for one in written:
        merged.level = one.level
        merged.put(one.path, one.value, one.locate)
    return merged


def _preset_of(data: Mapping[str, Any]) -> Path | None:
    """The preset of the model that ``data`` names."""
    model = data.get("model")
    default: str = RunConfig.model_fields["model"].default.name
    name = model.get("name", default) if isinstance(model, dict) else default
    return preset(name) if isinstance(name, str) else None


def _of_file(level: int, path: Path) -> list[_Written]:
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise FileError([document.problem((), "a configuration is a mapping of keys and values")])

    def locate(fault: Fault) -> Problem:
        return document.problem(fault.path, fault.message, fault.on_key)

    data = document.data
    for keys in PATHS:
        _relative_to(path.parent, data, keys)
    return [_Written(level, (key,), value, locate) for key, value in data.items()]


def _relative_to(folder: Path, data: Any, keys: KeyPath) -> None:
    """Point a path at the file's own folder where it is there and not in the current folder."""
    *front, last = keys
    for key in front:
        data = data.get(key) if isinstance(data, dict) else None
    value = data.get(last) if isinstance(data, dict) else None
    if (
        not isinstance(value, str)
        or not value
        or (keys == ("constitution",) and value in shipped_constitutions())
    ):
        return
    if not Path(value).exists() and (folder / value).exists():
        data[last] = str(folder / value)


def _split(text: str) -> tuple[KeyPath, Any]:
    name, equals, value = text.partition("=")
    path = tuple(part.strip().replace("-", "_") for part in name.split("."))
    if not equals or not all(path):
        raise UsageError(f"--set {text}: write a.b=value, for example --set sft.learning_rate=1e-4")
    return path, _value(value, f"--set {text}")


def _value(text: str, origin: str) -> Any:
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        try:
            return parse_yaml(text, origin).data
        except FileError as error:
            raise FileError([Problem(origin, problem.message) for problem in error.problems]) from None
    return scalar(text)  # not parsed further, so that 'a: b' and '#1' need no quotes in a shell


def _named(origin: str) -> Locate:
    return lambda fault: Problem(origin, fault.message)


def _flag(name: str) -> str:
    """The flag behind a setting: ``--engine`` for ``model.engine``, unless ``_FLAGS`` knows better."""
    return _FLAGS.get(name, "--" + name.rsplit(".", maxsplit=1)[-1].replace("_", "-"))


_FLAGS = {
    "model.name": "--model",
    "rounds.count": "--rounds",
    "human.votes": "--human",
    "human.share": "--human-share",
}


def flattened(value: Any, above: str = "") -> dict[str, str]:
    """``{"a": {"b": 1}}`` → ``{"a.b": "1"}``."""
    if not isinstance(value, dict):
        return {above: str(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= flattened(inner, f"{above}.{key}" if above else str(key))
    return found
