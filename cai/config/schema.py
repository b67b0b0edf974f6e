"""JSON Schemas of the files that people write, so that an editor completes and checks them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def editor_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The schema of ``model``, with docstrings as descriptions and without generated titles."""
    schema = _without_titles(model.model_json_schema(mode="validation"))
    assert isinstance(schema, dict)
    return {"$schema": DIALECT, "title": title, **schema}


def _without_titles(node: Any) -> Any:
    """pydantic titles every field with its own name, which editors show as noise."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A key called "title" under "properties" is a field, not an annotation: its value is a mapping.
    return {
        key: _without_titles(value)
        for key, value in node.items()
        if key != "title" or not isinstance(value, str)
    }
