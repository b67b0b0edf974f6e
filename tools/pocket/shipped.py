"""The shipped constitutions as rules; ``shipped.yaml`` says what each is about. Training shows them too."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from tools.pocket.principles import NAMES, Rule

ROOT = Path(__file__).resolve().parents[2]


@cache
def shipped_rules() -> tuple[Rule, ...]:
    """Every principle of the shipped constitutions and of the steering benchmark."""
    coverage = yaml.safe_load(Path(__file__).with_name("shipped.yaml").read_text(encoding="utf-8"))
    rules: dict[str, Rule] = {}
    folders = (ROOT / "constitutions", ROOT / "benchmarks" / "constitutions")
    for path in sorted(path for folder in folders for path in folder.glob("*.yaml")):
        for item in yaml.safe_load(path.read_text(encoding="utf-8")).get("principles", ()):
            about = frozenset(coverage.get(path.stem, {}).get(item["id"], ()))
            if not about or about - NAMES.keys():
                raise ValueError(f"shipped.yaml: {path.stem}.{item['id']}: unknown subjects {sorted(about)}")
            rules[item["principle"]] = Rule(item["principle"], about)
    return tuple(rules.values())
