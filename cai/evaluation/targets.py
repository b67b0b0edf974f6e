"""What a user names to be measured: run folders, one stage of a run, checkpoints, models by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cai.run.folder import RunFolder
from cai.values.errors import UsageError

STAGES = ("base", "sft", "policy")


@dataclass(frozen=True, slots=True)
class Targets:
    """``home``: the run folder whose own models are measured, None where models alone are named.

    ``models``: the other models, by the name of their column.
    """

    home: Path | None
    models: dict[str, str]


def read_targets(texts: list[str]) -> Targets:
    """The first run folder is home and takes part with all its models; another one with its policy, or with
    the stage named behind it (``runs/a:sft``). Anything else is a model: a folder, "pocket", a hub name.

    Raises:
        UsageError: a run has no such checkpoint, or two models would have the same name.
    """
    home: Path | None = None
    models: dict[str, str] = {}
    for text in texts:
        path, stage = _split(text)
        if not is_run(path):
            _add(models, column(Path(text).name), text)
        elif home is None and stage is None:
            home = path
            for number, folder in enumerate(RunFolder(path).rounds()[1:], 2):
                _add(models, f"round-{number}", str(_checkpoint(folder.path, "policy")))
        else:
            _add(
                models, column(f"{path.resolve().name}-{stage or 'policy'}"), _model(path, stage or "policy")
            )
    return Targets(home, models)


def is_run(path: Path) -> bool:
    """A run folder; a checkpoint has a config.json instead."""
    return (path / "config.yaml").is_file()


def column(name: str) -> str:
    """``name`` as a column of metrics.json: no slash, no space."""
    return re.sub(r"[/\s]+", "-", name.strip()) or "model"


def _split(text: str) -> tuple[Path, str | None]:
    head, _, stage = text.rpartition(":")
    return (Path(head), stage) if head and stage in STAGES else (Path(text), None)


def _model(path: Path, stage: str) -> str:
    if stage == "base":
        from cai.config.yamlfile import read_yaml

        data = read_yaml(path / "config.yaml").data
        return str(data["model"]["name"] if isinstance(data["model"], dict) else data["model"])
    return str(_checkpoint(path, stage))


def _checkpoint(path: Path, stage: str) -> Path:
    folder = RunFolder(path).rounds()[-1].checkpoint(stage)
    if not (folder / "config.json").exists():
        raise UsageError(f"{path}: has no {stage} checkpoint; train it first, or name another stage")
    return folder


def _add(models: dict[str, str], name: str, model: str) -> None:
    if name in models:
        raise UsageError(f"two models would be called {name!r}: {models[name]} and {model}")
    models[name] = model
