"""The shipped constitutions as rules: their sentences are trained on too, with coverage read from tags."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from tools.pocket.principles import NAMES, Rule

ROOT = Path(__file__).resolve().parents[2]


@cache
def shipped_rules() -> tuple[Rule, ...]:
    """Every principle of the shipped constitutions and of the steering benchmark."""
    rules: dict[str, Rule] = {}
    folders = (ROOT / "constitutions", ROOT / "benchmarks" / "constitutions")
    for path in sorted(path for folder in folders for path in folder.glob("*.yaml")):
        for item in yaml.safe_load(path.read_text(encoding="utf-8")).get("principles", ()):
            about = frozenset(
                tag.removeprefix("pocket:") for tag in item["tags"] if tag.startswith("pocket:")
            )
            if not about or about - NAMES.keys():
                raise ValueError(f"{path.name}: {item['id']} needs tags pocket:<theme>, got {sorted(about)}")
            rules[item["principle"]] = Rule(item["principle"], about)
    return tuple(rules.values())
