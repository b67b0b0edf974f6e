"""Secrets have no place in a configuration: a run keeps it in its folder, and folders are shown around.

A value may name a variable of the environment instead, ``${NAME}``, which is looked up when a server is
asked and never written anywhere. Nothing here repeats a value: what is refused may be a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A scheme at most before the variable: "Bearer ${NAME}".
_BY_VARIABLE = re.compile(rf"(?:[A-Za-z]+ )?{VARIABLE.pattern}")
# Parts of the names of headers and parameters that carry secrets.
_SECRET = re.compile(
    r"(api)?key|auth(entication|orization)?|cookie|credentials?|jwt|pass(wd|word)?|pwd|secret|sig(nature)?|token"
)
_FIELDS = frozenset(
    ("api_key", "apikey", "authorization", "access_token", "auth_token", "password", "secret")
)
# How the keys of well-known providers begin.
_KEY = re.compile(
    r"(?:sk|pk|rk|gsk|hf|xai|nvapi|r8|csk|pplx|fw|tgp|ghp|glpat)[-_]|AIza|eyJ|AKIA|bearer\s", re.I
)


def is_secret(name: str) -> bool:
    """Whether a header or parameter of this name carries a secret: ``x-api-key``, ``Authorization``, …"""
    return any(_SECRET.fullmatch(part) for part in re.split(r"[-_.\s]", name.lower()))


def literal(values: Mapping[str, str]) -> str | None:
    """The name of a header or parameter whose value is a secret in so many words; None where none is."""
    for name, value in values.items():
        if not _BY_VARIABLE.fullmatch(value) and value and (is_secret(name) or _KEY.match(value)):
            return name
    return None


def literal_field(body: Mapping[str, Any]) -> str | None:
    """The path of a field of a request's body that holds a secret; None where none does."""
    return next(_fields(body, ""), None)


def no_variable(name: str) -> bool:
    """Whether ``name`` cannot be, or is unlikely to be, an environment variable's: the key itself, say."""
    digits = sum(character.isdigit() for character in name)
    mixed = name != name.upper() and name != name.lower()
    return not _NAME.fullmatch(name) or bool(_KEY.match(name)) or (len(name) > 24 and mixed and digits > 2)


def _fields(node: Any, path: str) -> Iterator[str]:
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in pairs:
        here = f"{path}.{name}" if path else str(name)
        if isinstance(value, str) and value and str(name).lower().replace("-", "_") in _FIELDS:
            yield here
        yield from _fields(value, here)
