"""Imports go one way, torch stays behind the doors it belongs to, and the oracle stays out of the loop."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cai"

#: Lowest first. A module may import from its own layer and from those before it in this list.
#: What is not named here is foundation (layer 1): it must not import anything that is.
FOUNDATION = 1
LAYERS: list[set[str]] = [
    {"types", "errors", "words", "__init__"},
    set(),
    {"engines"},
    {"stages", "rewards"},
    {"training", "evaluation", "human", "report"},
    {"models", "steps"},
    {"pipeline"},
    {"launch", "summary", "summary_stage", "summary_suites", "targets", "authoring"},
    {"rounds"},
    {"cli_walk", "cli_sections"},
    {"cli_eval", "cli_human", "cli_report"},
    {"cli"},
    {"__main__"},
]
SIBLINGS = {"training", "evaluation", "human", "report"}
TORCH = {"torch", "transformers", "trl", "vllm", "peft", "datasets", "accelerate", "safetensors"}
MAY_LOAD_TORCH = ("engines/", "training/", "rewards/model.py")

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "shipped" not in path.parts)


def unit(name: str) -> str:
    """``cai.engines.load`` → ``engines``; ``cai.types`` → ``types``."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def layer(name: str) -> int:
    for number, names in enumerate(LAYERS):
        if name in names:
            return number
    return FOUNDATION


def imports(path: Path) -> list[tuple[str, int, bool]]:
    """(module, line, at module level) of every import in a file; ``from cai import x`` is ``cai.x``."""
    tree = ast.parse(path.read_text())
    top = set(ast.walk(ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, node in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"cai.{a.name}" for a in node.names] if node.module == "cai" else [node.module]
            if node.module == "cai" and names == ["cai.__version__"]:
                names = ["cai"]
            found += [(name, node.lineno, node in top) for name in names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name, line, _ in imports(path):
        if not (name == "cai" or name.startswith("cai.")) or name.startswith("cai.__"):
            continue
        there = unit(name)
        assert layer(there) <= layer(here), f"{path}:{line}: {here} must not import {name}"
        if here in SIBLINGS and there in SIBLINGS:
            assert here == there, f"{path}:{line}: {here} and {there} meet through files only"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_lazily(path: Path) -> None:
    where = str(path.relative_to(PACKAGE))
    for name, line, at_top in imports(path):
        if name.split(".")[0] in TORCH and not where.startswith(MAY_LOAD_TORCH):
            assert not at_top, f"{path}:{line}: {name} makes every command slow; import it where it is used"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_oracle_only_grades(path: Path) -> None:
    where = str(path.relative_to(PACKAGE))
    for name, line, _ in imports(path):
        if name == "cai.pocket.oracle" or (
            name == "cai.pocket" and "oracle" in path.read_text().splitlines()[line - 1]
        ):
            assert where.startswith("evaluation/") or where.startswith("pocket/"), (
                f"{path}:{line}: the oracle is the judge of pocket runs; nothing that trains may see it"
            )


def test_type_checking_blocks_hide_no_cycle() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                hidden = [n for n in ast.walk(node) if isinstance(n, ast.ImportFrom)]
                ours = [n.module for n in hidden if n.module and n.module.split(".")[0] == "cai"]
                assert not ours, f"{path}:{node.lineno}: {ours} hidden from the interpreter"
