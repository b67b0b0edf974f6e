"""A small file of a run folder that cannot be read is set aside, and what can be read of it is kept.

They are records of what was done, so an unreadable one is absent and is made again; it never stops a run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from cai.run.folder import ROUNDS, RunFolder
from cai.run.origin import FILE as ORIGINS
from cai.run.origin import read_origins
from cai.values.types import Failure, Score

SUITES = "suites.json"
ASIDE = ".damaged"


def mend(folder: RunFolder) -> list[str]:
    """Set aside whatever cannot be read; one line for each. Tables and checkpoints are not looked at."""
    checks: Mapping[str, Callable[[str], str | None]] = {
        "metrics.json": _metrics,
        "failures.jsonl": _failures,
        "manifest.json": _when(_is_manifest),
        ROUNDS: _when(_is_rounds),
        SUITES: _when(_is_suites),
        ORIGINS: lambda text: text if read_origins(folder).made or _is_empty_origins(text) else None,
    }
    notes = []
    for name, salvage in checks.items():
        path = folder.path / name
        if not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        kept = salvage(text)
        if kept == text:
            continue
        path.replace(path.with_name(name + ASIDE))
        if kept:
            folder.write_text(name, kept)
        rest = "what can be read of it is kept" if kept else "it counts as absent"
        notes.append(f"{path}: damaged; {rest} (the file as it was: {name}{ASIDE})")
    return notes


def _when(sound: Callable[[Any], bool]) -> Callable[[str], str | None]:
    """The whole text where its JSON is sound, None otherwise."""

    def salvage(text: str) -> str | None:
        try:
            return text if sound(json.loads(text)) else None
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return None

    return salvage


def _metrics(text: str) -> str | None:
    """The figures that are numbers."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    sound = {key: value for key, value in data.items() if _is_score(value)}
    if len(sound) == len(data):
        return text
    return json.dumps(sound, indent=2) + "\n" if sound else None


def _is_score(value: Any) -> bool:
    try:
        score = Score(**value)
        return all(math.isfinite(x) for x in (score.value, score.low, score.high, score.n))
    except TypeError:
        return False


def _failures(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    sound = [line for line in lines if _is_failure(line)]
    return text if len(sound) == len(lines) else "".join(f"{line}\n" for line in sound)


def _is_failure(line: str) -> bool:
    try:
        return all(isinstance(value, str) for value in asdict(Failure(**json.loads(line))).values())
    except (ValueError, TypeError, RecursionError):
        return False


def _is_manifest(data: Any) -> bool:
    parts = [data.get(name, {}) for name in ("seconds", "models", "packages")]
    return all(isinstance(part, dict) for part in parts)


def _is_rounds(data: Any) -> bool:
    names = data["rounds"]
    return bool(names) and all(isinstance(name, str) for name in names) and "stopped" in data


def _is_suites(data: Any) -> bool:
    entries = data.values()
    return all(isinstance(entry, dict) and isinstance(entry.get("models", {}), dict) for entry in entries)


def _is_empty_origins(text: str) -> bool:
    try:
        return bool(json.loads(text)["made"] == {})
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
