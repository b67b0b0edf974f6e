"""The files that come with cai: constitutions, prompt templates, presets.

They lie at the top of a checkout and under ``cai/shipped`` in an installed wheel (pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path

from cai.values.errors import CaiError

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(name: str) -> Path:
    """The shipped folder ``constitutions`` or ``prompts``. Raises CaiError when the install is broken."""
    for folder in (_PACKAGE / "shipped" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise CaiError(f"the shipped folder '{name}' is missing; install cai again")


def shipped_constitutions() -> dict[str, Path]:
    """Name → file of every shipped constitution, sorted by name."""
    return {path.stem: path for path in sorted(shipped_folder("constitutions").glob("*.yaml"))}


def preset(model: str) -> Path | None:
    """The preset of settings that suits a shipped model; None where there is none."""
    if not model.isidentifier():  # a folder or a hub name: presets belong to shipped models alone
        return None
    path = Path(__file__).with_name("presets") / f"{model}.yaml"
    return path if path.is_file() else None
