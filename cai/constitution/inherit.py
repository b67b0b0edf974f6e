"""What a constitution takes over from those that it extends: in whole, at other weights, without some.

``weights`` has one meaning: its values are factors. A key is an entry of ``extends``, as written there, and
stands for all that comes from it; or the id of one inherited principle. Where both are given, both multiply.
``drop`` leaves principles out by id; the id is free then, for a principle of the file's own in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cai.config.validation import KeyPath
from cai.config.yamlfile import Document
from cai.constitution.form import MAX_WEIGHT, ConstitutionFile, PrincipleEntry
from cai.constitution.principles import Principle
from cai.values.errors import Problem
from cai.values.words import did_you_mean

TEXTS = ("critique", "revision", "question")  # what a principle may leave to be derived


@dataclass(frozen=True, slots=True)
class Written:
    """A principle as a constitution has it, and where it was written.

    ``file``: the real path, its identity. ``value.weight`` has the factors on its way here in it;
    ``entry.weight`` is as written.
    """

    value: Principle
    entry: PrincipleEntry
    file: Path
    document: Document
    index: int

    def problem(self, within: KeyPath, message: str) -> Problem:
        """A problem at a path within the principle, or at the principle itself."""
        return self.document.problem(("principles", self.index, *within), message)

    @property
    def where(self) -> str:
        """File and line."""
        place = self.problem((), "")
        return f"{place.file}:{place.line}"

    @property
    def derived(self) -> tuple[str, ...]:
        """Which of ``TEXTS`` its author left out."""
        return tuple(text for text in TEXTS if getattr(self.entry, text) is None)


Parents = Sequence[tuple[int, Sequence[Written]]]  # place in ``extends``, and what comes from there


def taken(written: Written) -> str:
    """For a message about a second use of its id."""
    return f"the id '{written.value.id}' is already used in {written.where}"


def inherit(
    file: ConstitutionFile, document: Document, parents: Parents, problems: list[Problem]
) -> list[Written]:
    """The principles of ``parents`` by this file's ``weights`` and ``drop``. Adds faults to ``problems``."""
    ids = {written.value.id for _, principles in parents for written in principles}
    named = {file.extends[index] for index, _ in parents}
    problems += _unknown(file, document, ids, named)
    dropped = set(file.drop)
    found: dict[str, tuple[Written, str]] = {}
    for index, principles in parents:
        parent = file.extends[index]
        whole = file.weights.get(parent, 1.0)
        for written in principles:
            name = written.value.id
            if name in dropped:
                continue
            factors = {parent: whole, name: file.weights.get(name, 1.0)}
            mine = _weighed(written, factors, document, problems)
            first, via = found.setdefault(name, (mine, parent))
            if first.file != mine.file:
                message = f"{taken(first)} and in {mine.where}"
                problems.append(document.problem(("extends", index), message))
            elif first.value.weight != mine.value.weight:  # the same principle on two ways, but not alike
                message = (
                    f"'{name}' comes at weight {first.value.weight:g} from '{via}' and at "
                    f"{mine.value.weight:g} from '{parent}'; extend one of them only, or give both one weight"
                )
                problems.append(document.problem(("extends", index), message))
    return [written for written, _ in found.values()]


def _weighed(
    written: Written, factors: dict[str, float], document: Document, problems: list[Problem]
) -> Written:
    weight = written.value.weight
    for factor in factors.values():
        weight *= factor
    if weight == written.value.weight:
        return written
    if not 0.0 < weight <= MAX_WEIGHT:
        key = next(name for name, factor in factors.items() if factor != 1.0)
        message = (
            f"makes the weight of '{written.value.id}' {weight:g}; it must be above 0, at most {MAX_WEIGHT:g}"
        )
        problems.append(document.problem(("weights", key), message))
        return written
    return replace(written, value=replace(written.value, weight=weight))


def _unknown(file: ConstitutionFile, document: Document, ids: set[str], named: set[str]) -> list[Problem]:
    """Keys of ``weights`` and items of ``drop`` that stand for nothing, or for two things."""
    if not file.extends:
        message = "is about what a constitution inherits, and this one extends nothing"
        given = [key for key in ("weights", "drop") if getattr(file, key)]
        return [document.problem((key,), f"'{key}' {message}", on_key=True) for key in given]
    found = []
    dropped = set(file.drop)
    for key in file.weights:
        place = ("weights", key)
        if key in ids & named:
            message = f"'{key}' is an entry of 'extends' and the id of a principle; name the file by its path"
        elif key in dropped:
            message = f"'{key}' is dropped, so it has no weight"
        elif key in ids | named:
            continue
        elif key in file.extends:
            message = f"'{key}' names a constitution that 'extends' has already named in another way"
        else:
            message = (
                f"'{key}' is no entry of 'extends' and no inherited principle{_hint(key, file, ids | named)}"
            )
        found.append(document.problem(place, message, on_key=True))
    seen: set[str] = set()
    for index, name in enumerate(file.drop):
        if name not in ids:
            whole = "; to leave out all of it, take it out of 'extends'" if name in file.extends else ""
            message = f"no inherited principle has the id '{name}'{whole or _hint(name, file, ids)}"
            found.append(document.problem(("drop", index), message))
        elif name in seen:
            found.append(document.problem(("drop", index), f"'{name}' is dropped twice"))
        seen.add(name)
    return found


def _hint(name: str, file: ConstitutionFile, known: set[str]) -> str:
    return did_you_mean(name, sorted(known)) or f"; 'cai show {file.extends[0]}' lists what there is"
