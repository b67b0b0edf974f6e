"""What README and docs point to is there: files, modules, commands."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import typer

from cai.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app)
TRAININGS = COMMANDS.commands["train"].commands  # type: ignore[attr-defined]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_points_to_is_there(page: Path) -> None:
    text = page.read_text()
    links = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    missing = [target for target in links if not (page.parent / target).exists()]
    files = re.findall(r"`((?:cai|tests|benchmarks|docs|tools|constitutions|prompts)/[\w./-]+)`", text)
    missing += [file for file in files if not (ROOT / file).exists()]
    modules = set(re.findall(r"python -m\s+((?:benchmarks|tools)[\w.]*\w)", text))
    missing += [module for module in modules if importlib.util.find_spec(module) is None]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    found = re.findall(r"(?:^|[`&] ?)cai ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", page.read_text(), re.MULTILINE)
    known = COMMANDS.commands  # type: ignore[attr-defined]
    unknown = {first for first, _ in found} - known.keys()
    unknown |= {f"train {second}" for first, second in found if first == "train"} - {
        f"train {name}" for name in ("", *TRAININGS)
    }
    assert unknown == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_page_has_a_place_that_was_to_be_filled(page: Path) -> None:
    assert re.findall(r"@[A-Z]+@|TODO|TBD|FIXME|XXX", page.read_text()) == []


def test_the_readme_names_every_room() -> None:
    tree = (ROOT / "README.md").read_text().split("```\ncai/\n")[1].split("```")[0]
    named_there = re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)
    assert sorted(named_there) == sorted(p.parent.name for p in (ROOT / "cai").glob("*/__init__.py"))
