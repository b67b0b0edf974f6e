"""Every property of an encoding, over every chat template that the installed packages ship."""

from __future__ import annotations

import pytest

from benchmarks.chat_templates import COLUMNS, row, table, templates

REFUSED = {"template_kimi_audio"}  # it reads other variables than messages
EACH = [pytest.param(template, id=template.name) for template in templates()]


def test_there_are_templates_of_many_families() -> None:
    assert len(EACH) > 60
    assert {"trl", "published"} <= {template.source for template in templates()}


@pytest.mark.parametrize("metaspace", [False, True], ids=["bytes", "metaspace"])
@pytest.mark.parametrize("template", EACH)
def test_every_column_holds(template, metaspace) -> None:
    cells = row(template, metaspace)
    assert set(cells) == set(COLUMNS)
    if template.name in REFUSED:
        assert all(cell.startswith("refused: the chat template of") for cell in cells.values())
        return
    assert not {name: cell for name, cell in cells.items() if cell.startswith(("WRONG", "refused"))}


def test_the_table_names_what_was_seen(monkeypatch) -> None:
    few = [t for t in templates() if t.name in ("gptoss", "template_kimi_audio")]
    monkeypatch.setattr("benchmarks.chat_templates.templates", lambda: few)
    lines = table().splitlines()
    assert len(lines) == 2 + len(few)
    assert "yes, channels" in lines[2]
