"""The YAML parser's complaints, in the words of someone who edits the file."""

from __future__ import annotations

import yaml

from cai.values.errors import Problem


def explain_syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    """What is wrong, where, and what to write in its place."""
    mark = error.problem_mark or error.context_mark
    context, complaint = error.context or "", error.problem or "cannot be read"
    if mark is None:
        return Problem(file, f"not valid YAML: {complaint}")
    lines = text.splitlines() or [""]
    line, column = mark.line, mark.column
    here = lines[line] if line < len(lines) else ""
    indent = here[: len(here) - len(here.lstrip())]
    character = here[column : column + 1]
    if "\t" in indent:
        column = indent.index("\t")
        message = "a tab in the indentation; use spaces"
    elif "quoted scalar" in context and "end of stream" in complaint and error.context_mark:
        line, column = error.context_mark.line, error.context_mark.column
        message = "this quotation mark is never closed"
    elif character == "\t" or "tab" in complaint:
        message = "a tab where YAML wants spaces"
    elif "alias" in context or "anchor" in context:
        message = "text that starts with '*' or '&' must be in quotes"
    elif "mapping values" in complaint:
        message = "': ' inside a text; put the whole text in quotes, or check the indentation"
    elif "cannot start any token" in complaint:
        message = f"text cannot start with '{character}'; put it in quotes"
    elif "escape" in complaint or "escape" in context:
        message = "unknown escape in double quotes; write \\\\ for a backslash, or use single quotes"
    elif "flow" in context:
        message = f"not valid inside [ ] or {{ }}: {complaint}; is a bracket or comma missing?"
    elif "expected key" in complaint or "expected ':'" in complaint or "block" in context + complaint:
        message = "does not fit the lines above; check indentation, quotation marks and the colon after a key"
    else:
        message = f"not valid YAML: {complaint}"
    return Problem(file, message, line + 1, column + 1)
