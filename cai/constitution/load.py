"""Constitutions: found by name or path, extended, checked, completed.

``load_constitution("harmless")``, then ``draw(constitution, seed, …)``. Not here: the YAML form
(``form.py``) and the testing of principles on their examples, which needs a model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai.config.resources import shipped_constitutions
from cai.config.validation import KeyPath
from cai.config.yamlfile import COMPLETED, PEOPLE, Bounds, Document, check, read_yaml
from cai.constitution.form import ConstitutionFile, ExampleEntry, PrincipleEntry
from cai.constitution.inherit import Parents, Written, inherit, taken
from cai.constitution.principles import Constitution, Example, Principle, draw, draw_many, dump
from cai.constitution.shots import conversation
from cai.constitution.templates import Templates
from cai.values.errors import FileError, Problem, UsageError
from cai.values.words import did_you_mean, excerpt, one_of, slug

__all__ = [
    "Constitution",
    "Example",
    "Principle",
    "constitution_schema",
    "draw",
    "draw_many",
    "dump",
    "load_constitution",
    "trace",
]

MAX_EXTENDS = 16
MAX_PRINCIPLES = 10_000  # those of extended constitutions included


def load_constitution(name_or_path: str | Path, templates: Templates | None = None) -> Constitution:
    """A shipped constitution by name (``harmless``, ``harmless.yaml``) or one from a file.

    ``templates`` derives what principles leave out; default: the shipped ones.
    Raises FileError with every fault and its place; UsageError for a name that is not known.
    """
    return trace(name_or_path, templates)[0]


def trace(name_or_path: str | Path, templates: Templates | None = None) -> tuple[Constitution, list[Written]]:
    """``load_constitution``, and beside every principle where it was written, in the same order."""
    path = _find(str(name_or_path), None)
    if path is None:
        raise UsageError(_not_found(str(name_or_path)))
    loader = _Loader(templates or Templates.load())
    file, principles = loader.load(path, ())
    name = file.name or path.stem
    return Constitution(name, file.description, tuple(found.value for found in principles)), principles


def is_constitution(name_or_path: str) -> bool:
    """Is there such a file or shipped constitution? Nothing is read."""
    return _find(name_or_path, None) is not None


def constitution_schema() -> dict[str, Any]:
    """JSON Schema of a constitution file, for editors."""
    from cai.config.schema import editor_schema

    return editor_schema(ConstitutionFile, "cai constitution")


def _find(name: str, folder: Path | None) -> Path | None:
    """Where a constitution is: a path (relative to ``folder``), or a shipped name with or without .yaml."""
    shipped = shipped_constitutions()
    if name in shipped:
        return shipped[name]
    if not name.strip():
        return None
    path = (folder or Path()) / Path(name).expanduser()
    for candidate in (path, path.with_name(f"{path.name}.yaml")):
        try:
            if candidate.exists() or candidate.is_symlink():
                return candidate
        except OSError:  # a sentence in place of a name can be too long for the file system
            return None
    return shipped.get(name.removesuffix(".yaml").removesuffix(".yml"))


def _not_found(name: str) -> str:
    shipped = list(shipped_constitutions())
    hint = did_you_mean(Path(name).stem, shipped) or f"; shipped are {one_of(shipped, 'and')}"
    return f"no constitution '{excerpt(name)}': neither a file nor a shipped name{hint}"


@dataclass(slots=True)
class _Loader:
    """Loads a file and what it extends."""

    templates: Templates
    loaded: dict[Path, tuple[ConstitutionFile, list[Written]]] = field(default_factory=dict)

    def load(self, path: Path, above: tuple[Path, ...]) -> tuple[ConstitutionFile, list[Written]]:
        """The file and its principles, inherited ones first. ``above``: the files that led here."""
        real = path.resolve()
        if real not in self.loaded:
            document = read_yaml(path, _bounds(path))
            file = check(ConstitutionFile, document)
            problems: list[Problem] = []
            parents = self.parents(file, document, (*above, real), problems)
            # Without all parents, what 'weights' and 'drop' name can't be told from a slip.
            inherited = [] if problems else inherit(file, document, parents, problems)
            own = self.own(file, document, real, inherited, problems)
            if (count := len(inherited) + len(own)) > MAX_PRINCIPLES:
                message = f"{count:,} principles with what it extends; the limit is {MAX_PRINCIPLES:,}"
                problems.append(document.problem(("extends",), message))
            if not count and not problems:
                problems.append(document.problem(("drop",), "no principle is left", on_key=True))
            if problems:
                raise FileError(problems)
            self.loaded[real] = (file, [*inherited, *own])
        return self.loaded[real]

    def parents(
        self, file: ConstitutionFile, document: Document, chain: tuple[Path, ...], problems: list[Problem]
    ) -> Parents:
        """The principles of every file that is extended, each file once."""
        parents: list[tuple[int, list[Written]]] = []
        seen: set[Path] = set()
        for index, name in enumerate(file.extends):
            place = ("extends", index)
            parent = _find(name, Path(document.file).parent)
            if parent is None:
                problems.append(document.problem(place, _not_found(name)))
                continue
            if parent.resolve() in chain:
                circle = [*chain[chain.index(parent.resolve()) :], parent]
                arrows = " → ".join(step.name for step in circle)
                problems.append(document.problem(place, f"'extends' goes round in a circle: {arrows}"))
                continue
            if len(chain) > MAX_EXTENDS:
                problems.append(document.problem(place, f"more than {MAX_EXTENDS} levels of 'extends'"))
                continue
            if parent.resolve() not in seen:
                seen.add(parent.resolve())
                parents.append((index, self.load(parent, chain)[1]))
        return parents

    def own(
        self,
        file: ConstitutionFile,
        document: Document,
        real: Path,
        inherited: list[Written],
        problems: list[Problem],
    ) -> list[Written]:
        known = {found.value.id: found for found in inherited}
        texts: dict[str, Problem] = {}
        names = _ids(file.principles, set(known))
        for index, (entry, name) in enumerate(zip(file.principles, names, strict=True)):
            here: KeyPath = ("principles", index)
            place = document.problem(here, "")
            first = texts.setdefault(_folded(entry.principle), place)
            if first is not place:
                problems.append(document.problem(here, f"repeats the principle in line {first.line}"))
            elif name in known:
                problems.append(document.problem((*here, "id"), taken(known[name])))
            else:
                known[name] = Written(self.principle(name, entry), entry, real, document, index)
        return [found for found in known.values() if found.file == real]

    def principle(self, name: str, entry: PrincipleEntry) -> Principle:
        return Principle(
            id=name,
            principle=entry.principle,
            critique=entry.critique or self.templates.derived_critique(entry),
            revision=entry.revision or self.templates.derived_revision(entry),
            question=entry.question or self.templates.derived_question(entry),
            weight=entry.weight,
            tags=tuple(entry.tags),
            examples=tuple(_example(example) for example in entry.examples),
        )


def _bounds(path: Path) -> Bounds:
    """A run's own copy says everything about each principle: it holds more than what it was made from."""
    copy = path.name == "constitution.yaml" and (path.parent / "journal.sqlite").exists()
    return COMPLETED if copy else PEOPLE


def _example(entry: ExampleEntry) -> Example:
    worse, better = entry.violating or entry.worse, entry.clean or entry.better
    assert worse is not None and better is not None  # ExampleEntry has checked it
    return Example(conversation(entry.prompt), worse, better, entry.violating is not None)


def _ids(entries: list[PrincipleEntry], taken: set[str]) -> list[str]:
    """Given ids, and for the others a slug of the sentence; a hash of it is added where that is taken."""
    used = taken | {entry.id for entry in entries if entry.id is not None}
    names = []
    for entry in entries:
        name = entry.id
        if name is None:
            digest = hashlib.sha256(_folded(entry.principle).encode()).hexdigest()[:8]
            name = slug(entry.principle) or f"principle-{digest}"
            name = f"{name}-{digest}" if name in used else name
            used.add(name)
        names.append(name)
    return names


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
