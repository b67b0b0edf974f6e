"""Reading and checking one prompt template: what it may use, with the line of each fault.

A template may insert values, test them, loop once over the conversation and use a few filters. It
cannot call, assign, multiply or include, so its output is bounded by its inputs. ``templates.py`` says
what each template is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cai.values.errors import FileError, ItemError, Problem
from cai.values.readable import invisible
from cai.values.types import Message
from cai.values.words import did_you_mean, one_of

MAX_TEMPLATE_BYTES = 64 * 1024
MAX_OUTPUT_CHARS = 4_000_000

_FULL = ("id", "principle", "critique", "revision", "question", "weight", "tags")
_PAIR = ("conversation", "a", "b", "principle")
# Template → the variables that it is given, and what ``principle`` has when it is rendered.
VARIABLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "critique": (("principle", "no_problem"), _FULL),
    "revision": (("principle",), _FULL),
    "label": (_PAIR, _FULL),
    "label_answer": (("principle",), _FULL),
    "label_cot": (_PAIR, _FULL),
    "derived_critique": (("principle",), ("principle",)),
    "derived_revision": (("principle",), ("principle",)),
    "derived_question": (("principle",), ("principle",)),
    "score": (("principle",), _FULL),
    "judge": (("conversation", "question"), ()),
}
_FILTERS = ("capitalize", "default", "first", "last", "length", "lower", "title", "trim", "upper")
# Whatever can compute without bound, reach beyond the values, or grow text faster than the template.
_FORBIDDEN: Mapping[type[nodes.Node], str] = {
    nodes.Call: "calls are not allowed; use a filter",
    nodes.Mul: "'*' is not allowed",
    nodes.Pow: "'**' is not allowed",
    nodes.Mod: "'%' is not allowed",
    nodes.Assign: "'set' is not allowed",
    nodes.AssignBlock: "'set' is not allowed",
    nodes.With: "'with' is not allowed",
    nodes.Macro: "macros are not allowed",
    nodes.CallBlock: "'call' is not allowed",
    nodes.FilterBlock: "filter blocks are not allowed",
    nodes.Include: "'include' is not allowed",
    nodes.Import: "'import' is not allowed",
    nodes.FromImport: "'import' is not allowed",
    nodes.Extends: "'extends' is not allowed",
    nodes.Block: "'block' is not allowed",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A principle to try templates on, and the principle of a worked example."""

    principle: str
    id: str = "sample"
    critique: str = "A critique request."
    revision: str = "A revision request."
    question: str = "A question?"
    weight: float = 1.0
    tags: tuple[str, ...] = ()


def sandbox() -> ImmutableSandboxedEnvironment:
    """An environment without globals and with the few allowed filters."""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in _FILTERS}
    return environment


def compile_template(environment: ImmutableSandboxedEnvironment, name: str, path: Path) -> Template:
    """Read, check and try one template. Raises FileError with every fault found."""
    source = _read(path)
    try:
        tree = environment.parse(source)
        problems = _faults(tree, name, str(path))
        if problems:
            raise FileError(problems)
        template = environment.from_string(source)
    except TemplateSyntaxError as error:
        raise FileError([Problem(str(path), f"{error.message}", error.lineno)]) from None
    turns = (Message("user", "A question."), Message("assistant", "An answer."))
    sample = {"conversation": turns, "a": "one", "b": "two", "no_problem": "None.", "question": "Why?"}
    try:
        text = render(template, {**sample, "principle": Sample("A principle.")})
    except (TemplateError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FileError([Problem(str(path), f"fails on a sample: {error}", _line(error))]) from None
    if invisible(text):
        raise FileError([Problem(str(path), "renders to nothing that can be seen")])
    return template


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_TEMPLATE_BYTES:
            raise FileError([Problem(str(path), "larger than 64 KiB, the limit for a template")])
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise FileError([Problem(str(path), "not UTF-8; save the file as UTF-8")]) from None
    except OSError as error:
        raise FileError([Problem(str(path), f"cannot be read: {error.strerror or error}")]) from None


def _faults(tree: nodes.Template, name: str, file: str) -> list[Problem]:
    variables, attributes = VARIABLES[name]
    # First and alone: what follows computes constant expressions, and these are what must not be computed.
    found = [(node.lineno, _FORBIDDEN[type(node)]) for node in tree.find_all(tuple(_FORBIDDEN))]
    if found:
        return [Problem(file, message, line) for line, message in sorted(set(found))]
    for undeclared in meta.find_undeclared_variables(tree) - set(variables):
        line = next((n.lineno for n in tree.find_all(nodes.Name) if n.name == undeclared), 1)
        hint = did_you_mean(undeclared, variables) or f"; known here: {one_of(variables, 'and')}"
        found.append((line, f"unknown variable '{undeclared}'{hint}"))
    for attribute in tree.find_all(nodes.Getattr):
        of_principle = isinstance(attribute.node, nodes.Name) and attribute.node.name == "principle"
        if of_principle and attribute.attr not in attributes:
            hint = did_you_mean(attribute.attr, attributes) or f"; it has {one_of(attributes, 'and')}"
            found.append((attribute.lineno, f"a principle has no '{attribute.attr}' here{hint}"))
    for loop in tree.find_all(nodes.For):
        if loop.recursive or any(inner is not loop for inner in loop.find_all(nodes.For)):
            found.append((loop.lineno, "a loop inside a loop is not allowed"))
    return [Problem(file, message, line) for line, message in sorted(set(found))]


def render(template: Template, values: Mapping[str, Any]) -> str:
    """The text without trailing line ends. Raises ItemError above ``MAX_OUTPUT_CHARS``."""
    pieces: list[str] = []
    size = 0
    for piece in template.generate(values):
        size += len(piece)
        if size > MAX_OUTPUT_CHARS:
            raise ItemError("prompt too long", f"more than {MAX_OUTPUT_CHARS:,} characters")
        pieces.append(piece)
    return "".join(pieces).rstrip("\n")


def _line(error: BaseException) -> int | None:
    """The line of the template in which ``error`` was raised."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
