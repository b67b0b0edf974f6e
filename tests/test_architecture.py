"""The house: every file in a room, imports downwards only, torch and the oracle behind their doors."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cai"

#: Every room by its floor, lowest first. A room imports from itself and from the floors below it.
FLOORS: list[set[str]] = [
    {"values"},
    {"config", "chat", "statistics", "run", "pocket"},
    {"constitution", "data", "engines"},
    {"stages"},
    {"rewards"},
    {"training", "evaluation", "human", "report"},
    {"pipeline"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
TOP = {"__init__", "__main__"}  # the version, and the door; the only files that lie in no room
MOST_FILES = 15  # in one folder, beside __init__; a larger room has sub-rooms
TORCH = {"torch", "transformers", "trl", "vllm", "peft", "datasets", "accelerate", "safetensors"}
MAY_LOAD_TORCH = ("engines/", "training/", "rewards/model.py")

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "shipped" not in path.parts)
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


@cache
def imports(path: Path) -> tuple[tuple[str, int, bool], ...]:
    """(module, line, at module level) of every import in a file; ``from room import a`` may be a module."""
    tree = ast.parse(path.read_text())
    top = set(ast.walk(ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, node in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written from cai on"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append((inner if inner in NAMES else str(node.module), node.lineno, node in top))
    return tuple(found)


def ours(path: Path) -> list[tuple[str, int]]:
    return [(name, line) for name, line, _ in imports(path) if name.split(".")[0] == "cai"]


@each_module
def test_every_file_lies_in_a_room(path: Path) -> None:
    first, *more = path.relative_to(PACKAGE).with_suffix("").parts
    assert first in FLOOR if more else first in TOP, f"{path}: put it into a room ({', '.join(FLOOR)})"


def test_every_room_is_there() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert folders - {"shipped"} == set(FLOOR)


@each_module
def test_imports_go_down(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0]
    for name, line in ours(path):
        there = name.split(".")[1] if "." in name else None
        if here.removesuffix(".py") in TOP or there is None or there == here:
            continue
        assert FLOOR[there] < FLOOR[here], f"{path}:{line}: {here} must not import {name}"


def test_no_circle() -> None:
    graph = {name_of(path): {name for name, _ in ours(path)} - {name_of(path)} for path in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")


def test_a_file_name_occurs_once() -> None:
    seen = Counter(path.stem for path in MODULES if path.stem != "__init__")
    assert [name for name, count in seen.items() if count > 1] == []


def test_large_rooms_have_sub_rooms() -> None:
    files = Counter(path.parent for path in MODULES if path.stem != "__init__")
    assert {str(folder): count for folder, count in files.items() if count > MOST_FILES} == {}


def test_tests_mirror_the_rooms() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders <= set(FLOOR), "a folder of tests bears the name of the room that it is about"
    assert {path.stem for path in (ROOT / "tests").glob("test_*.py")} == {"test_architecture", "test_docs"}


@each_module
def test_heavy_packages_are_imported_lazily(path: Path) -> None:
    where = str(path.relative_to(PACKAGE))
    for name, line, at_top in imports(path):
        if name.split(".")[0] in TORCH and not where.startswith(MAY_LOAD_TORCH):
            assert not at_top, f"{path}:{line}: {name} makes every command slow; import it where it is used"


@each_module
def test_the_oracle_only_grades(path: Path) -> None:
    where = str(path.relative_to(PACKAGE))
    for name, line in ours(path):
        if name == "cai.pocket.oracle":
            assert where.startswith(("evaluation/", "pocket/")), (
                f"{path}:{line}: the oracle is the judge of pocket runs; nothing that trains may see it"
            )


def test_no_code_that_comes_with_a_model_is_run() -> None:
    """Left unsaid, transformers asks at the terminal, and runs it on "y"."""
    loads = 0
    for path in sorted(
        path for place in ("cai", "tools", "benchmarks") for path in (ROOT / place).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".from_pretrained"):
                said = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert said.get("trust_remote_code") == "False", (
                    f"{path}:{node.lineno}: trust_remote_code=False"
                )
                loads += 1
            values = [word.value for word in getattr(node, "keywords", ()) if word.arg == "trust_remote_code"]
            assert all(ast.unparse(value) == "False" for value in values), f"{path}: runs a model's code"
    assert loads > 20


@each_module
def test_type_checking_blocks_hide_no_circle(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            hidden = [n for n in ast.walk(node) if isinstance(n, ast.ImportFrom)]
            own = [n.module for n in hidden if n.module and n.module.split(".")[0] == "cai"]
            assert not own, f"{path}:{node.lineno}: {own} hidden from the interpreter"
