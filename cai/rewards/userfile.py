"""Finds the function that ``file.py:function`` or ``package.module:function`` names, and loads it.

A file's own folder (for a module: the working directory) joins ``sys.path`` at its end, so that it can
import its neighbours and hides nothing that is installed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import ModuleType
from typing import Any

from cai.run.journal import digest
from cai.values.errors import FileError, Problem, UsageError
from cai.values.words import did_you_mean, one_of


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A function, what to call it, where it is written, and the hash of that file's text with its name.

    Neighbours of the file that it imports are in the hash, with what those import; what is installed, and
    data that is read, is not.
    """

    name: str
    function: Callable[..., Any]
    file: Path | None
    fingerprint: str


def find_function(spec: str) -> UserFunction:
    """Load what ``spec`` names.

    Raises:
        UsageError: no such file, module or function, or it cannot take (prompts, responses).
        FileError: the file or module raises when it is loaded.
    """
    where, _, name = spec.rpartition(":")
    _read_as_text({path.parent for path in sources(spec)})
    if not where or not name.isidentifier():
        raise UsageError(f"reward '{spec}': write it as file.py:function")
    if where.endswith(".py") or "/" in where:
        path = _existing(Path(where).expanduser(), spec)
        module, title = _from_file(path), path.name
    else:
        module, title = _from_module(where, spec), where
    function = _function(module, name, spec)
    source = inspect.getsourcefile(module) if getattr(module, "__file__", None) else None
    file = Path(source).resolve() if source else None
    text = _text(file) if file else ""
    # The folders from which it can import more than what is installed; see ``_importable``.
    more = [_text(path) for path in neighbours(file, (file.parent, Path.cwd()))] if file else []
    fingerprint = digest("function", spec, text, *([more] if more else []))
    return UserFunction(f"{title}:{name}", function, file, fingerprint)


def sources(spec: str) -> list[Path]:
    """The user's own files that make up the function which ``spec`` names, its file first; none is run.

    Empty where there is no such file, or it is not the user's own: an installed module, no function at all.
    """
    where = spec.rpartition(":")[0]
    if not where:
        return []
    if where.endswith(".py") or "/" in where:
        path = Path(where).expanduser().resolve()
        first, folders = [path] if path.is_file() else [], (path.parent, Path.cwd())
    else:
        folders = (Path.cwd(), Path.cwd())
        _importable(Path.cwd())
        first = _files(where.split(".")[0], {Path.cwd().resolve()})
    for folder in folders if first else ():
        _importable(folder)
    return [*first, *sorted({n for file in first for n in neighbours(file, folders)} - set(first))]


def neighbours(file: Path, folders: Sequence[Path]) -> list[Path]:
    """The modules in ``folders`` that ``file`` imports, and those that they import; packages as a whole."""
    homes = {folder.resolve() for folder in folders}
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        new = {path.resolve() for path in _imported(waiting.pop(), homes)} - found - {file}
        found |= new
        waiting += sorted(new)
    return sorted(found)


def _imported(file: Path, homes: set[Path]) -> list[Path]:
    """What lies in ``homes`` of what a file imports; nothing where it is not Python."""
    try:
        tree = ast.parse(_text(file))
    except (SyntaxError, ValueError):
        return []
    names: set[str] = set()
    found: list[Path] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            found += file.parent.rglob("*.py")  # from the package that it is a part of
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    return found + [path for name in sorted(names - {"cai"}) for path in _files(name, homes)]


def _files(name: str, homes: set[Path]) -> list[Path]:
    """The files of a module or package that lies directly in ``homes``."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    packages = [Path(folder) for folder in spec.submodule_search_locations or ()]
    inside = [
        path for folder in packages if folder.resolve().parent in homes for path in folder.rglob("*.py")
    ]
    origin = Path(spec.origin or "")
    return inside or ([origin] if origin.is_file() and origin.resolve().parent in homes else [])


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="surrogateescape")


def shown(path: Path) -> str:
    """The path as the user would write it: relative where it lies below the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _existing(path: Path, spec: str) -> Path:
    if path.is_dir():
        raise UsageError(f"reward '{spec}': {path} is a folder; name a .py file in it")
    if not path.is_file():
        neighbours = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise UsageError(f"reward '{spec}': there is no file {path}{did_you_mean(path.name, neighbours)}")
    if path.suffix != ".py":
        raise UsageError(f"reward '{spec}': {path} is not a .py file")
    return path.resolve()


class _FromText(SourceFileLoader):
    """Compiles the text that is there now. Python's cache of byte code tells versions apart by size and
    second alone: a weight changed from 0.1 to 0.9 within a second would run as 0.1, under the new hash.
    """

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError("no cache")


def _read_as_text(folders: Iterable[Path]) -> None:
    """Import what lies in ``folders`` from its text, too: a neighbour may be edited within the second."""
    for folder in folders:
        loaders = ((ExtensionFileLoader, EXTENSION_SUFFIXES), (_FromText, SOURCE_SUFFIXES))
        sys.path_importer_cache[str(folder)] = FileFinder(str(folder), *loaders)


def _from_file(path: Path) -> ModuleType:
    # A name of its own: a user's json.py must not become the json that others import.
    name = f"_cai_reward_{digest(str(path))[:12]}"
    found = importlib.util.spec_from_file_location(name, path, loader=_FromText(name, str(path)))
    assert found is not None and found.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    _importable(path.parent)
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise FileError([_load_problem(error, path)]) from error
    return module


def _from_module(where: str, spec: str) -> ModuleType:
    _importable(Path.cwd())
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise FileError([_load_problem(error, None, where)]) from error
        files = [path.name for path in Path.cwd().glob("*.py")]
        hint = did_you_mean(f"{where}.py", files) or "; a file is named as file.py:function"
        raise UsageError(f"reward '{spec}': there is no module '{error.name}'{hint}") from None
    except (Exception, SystemExit) as error:
        raise FileError([_load_problem(error, None, where)]) from error


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _load_problem(error: BaseException, path: Path | None, where: str = "") -> Problem:
    said = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, SyntaxError) and error.filename:
        place, line = Path(error.filename), error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if path is not None and Path(frame.filename) == path]
        place, line = Path((own or frames)[-1].filename), (own or frames)[-1].lineno
    return Problem(shown(place), f"cannot be loaded{f' for {where}' if where else ''}: {said}", line)


def _function(module: ModuleType, name: str, spec: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if function is None:
        known = [
            known
            for known, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not known.startswith("_")
        ]
        others = f"; it has {one_of(known, 'and')}" if known else "; it defines no function"
        raise UsageError(f"reward '{spec}': no function '{name}' in it{did_you_mean(name, known) or others}")
    if not callable(function):
        raise UsageError(f"reward '{spec}': '{name}' is not a function but a {type(function).__name__}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C, without a signature to look at
        return function  # type: ignore[no-any-return]
    try:
        signature.bind([], [])
    except TypeError:
        raise UsageError(
            f"reward '{spec}': '{name}{signature}' must take two arguments: prompts and responses"
        ) from None
    return function  # type: ignore[no-any-return]
