"""A run folder on disk: what lies where, and writing it so that a kill leaves the old file or the new.

    config.yaml  constitution.yaml  manifest.json  journal.sqlite
    data/*.parquet  checkpoints/…  metrics.json  failures.jsonl  rounds.json

Parquet bytes depend on the rows alone, so equal runs have equal files.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

from cai.values.errors import CaiError, UsageError
from cai.values.types import Failure, Score

T = TypeVar("T")

# What a run writes at the top of its folder, and what only a run folder has.
_OURS = (
    "config.yaml",
    "constitution.yaml",
    "manifest.json",
    "metrics.json",
    "failures.jsonl",
    "data",
    "checkpoints",
)
_MARKS = (".lock", "journal.sqlite", "manifest.json")
OTHERS = stat.S_IRWXO  # what a file allows to those who are neither its owner nor of its group
LATER = "rounds"  # where the folders of all rounds but the first lie
ROUNDS = "rounds.json"  # the folders of a run of several rounds, relative to the first, and why it stopped


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and atomic writes below ``path``."""

    path: Path

    @property
    def journal(self) -> Path:
        return self.path / "journal.sqlite"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def failures(self) -> Path:
        return self.path / "failures.jsonl"

    def checkpoint(self, name: str) -> Path:
        return self.path / "checkpoints" / name

    def table(self, name: str) -> Path:
        return self.path / "data" / f"{name}.parquet"

    def rounds(self) -> tuple[RunFolder, ...]:
        """The folders of all rounds of this run, this one first; this one alone where it has no others.

        Raises:
            CaiError: rounds.json cannot be read.
        """
        path = self.path / ROUNDS
        if not path.exists():
            return (self,)
        try:
            names = json.loads(path.read_text())["rounds"]
            if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("'rounds' is no list of folders")
            return tuple(RunFolder(self.path / name) for name in names)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends.

        Raises:
            UsageError: another process is working in the folder, it cannot be written to, or it is no run
                folder and has files of its own that a run would overwrite.
        """
        self._refuse_to_overwrite()
        with self._lock_file() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"{self.path}: another cai command is working in this run folder; "
                    "wait for it, or name another folder with --run"
                ) from None
            except OSError as error:
                raise self._unusable(error) from None
            yield

    def _refuse_to_overwrite(self) -> None:
        """A folder that ``cai init`` has filled holds a config.yaml too, and it is the user's own."""
        if any((self.path / mark).exists() for mark in _MARKS):
            return
        if present := [name for name in _OURS if (self.path / name).exists()]:
            raise UsageError(
                f"{self.path}: not a run folder, and a run would overwrite what is in it "
                f"({', '.join(present)}); name another folder, or an empty one"
            )

    def _lock_file(self) -> TextIO:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return (self.path / ".lock").open("w")
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> UsageError:
        taken = self.path.exists() and not self.path.is_dir()
        reason = "it is a file" if taken else error.strerror or str(error)
        return UsageError(f"{self.path}: cannot be used as a run folder ({reason}); name another with --run")

    def write_text(self, name: str, text: str, private: bool = False) -> None:
        atomic_write(self.path / name, lambda path: path.write_text(text, encoding="utf-8"), private)

    def write_table(self, name: str, rows: Iterable[dict[str, Any]], private: bool = False) -> None:
        """Write ``data/<name>.parquet``; an empty list gives a file without columns.

        ``private``: it says what people voted, so not everybody on the machine may read it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(list(rows))
        path = self.table(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, lambda target: pq.write_table(table, target, compression="zstd"), private)

    def read_table(self, name: str, build: Callable[[dict[str, Any]], T]) -> list[T]:
        """The values of ``data/<name>.parquet``, each built by ``build(row)``.

        Raises:
            UsageError: the table is not there yet.
            CaiError: it cannot be read.
        """
        import pyarrow.parquet as pq

        path = self.table(name)
        if not path.exists():
            raise UsageError(f"{path}: not there yet; run the step that makes it, or cai run, first")
        try:
            return [build(row) for row in pq.read_table(path).to_pylist()]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error

    def record_failures(self, stages: Iterable[str], failures: Iterable[Failure]) -> None:
        """Replace what ``failures.jsonl`` says about ``stages``; lines of other stages stay."""
        replaced = set(stages)
        kept = [failure for failure in self.read_failures() if failure.stage not in replaced]
        lines = [json.dumps(asdict(failure), ensure_ascii=True) for failure in (*kept, *failures)]
        self.write_text("failures.jsonl", "".join(line + "\n" for line in lines))

    def read_failures(self) -> list[Failure]:
        if not self.failures.exists():
            return []
        try:
            return [Failure(**json.loads(line)) for line in self.failures.read_text().splitlines()]
        except (TypeError, ValueError) as error:
            raise _damaged(self.failures, error) from error

    def record_metrics(self, scores: dict[str, Score], drop: str, private: bool = False) -> None:
        """Merge ``scores`` into metrics.json after dropping the keys that start with ``drop``.

        ``private``: a key bears somebody's name.
        """
        metrics = {key: value for key, value in self.read_metrics().items() if not key.startswith(drop)}
        metrics |= scores
        ordered = {key: asdict(metrics[key]) for key in sorted(metrics)}
        self.write_text("metrics.json", json.dumps(ordered, indent=2, allow_nan=False) + "\n", private)

    def read_metrics(self) -> dict[str, Score]:
        if not self.metrics.exists():
            return {}
        try:
            return {key: Score(**value) for key, value in json.loads(self.metrics.read_text()).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise _damaged(self.metrics, error) from error


def _damaged(path: Path, error: Exception) -> CaiError:
    return CaiError(f"{path}: cannot be read ({error}); delete it and run again")


def atomic_write(path: Path, write: Callable[[Path], object], private: bool = False) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    ``private``: only the owner and, as the umask says, the group can read it at any moment. What was
    closed to others before stays so.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if private or (path.exists() and not path.stat().st_mode & OTHERS):
            make_private(temporary)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def make_private(path: Path) -> None:
    """Make the file if it is not there; either way, nobody but its owner and group can open it.

    Left as it is where it belongs to somebody else. Raises OSError when it cannot be made.
    """
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o660))
    with suppress(PermissionError):
        path.chmod(path.stat().st_mode & ~OTHERS)


def point_latest(folder: Path) -> None:
    """Make ``runs/latest`` (beside ``folder``) point at ``folder``; skipped where links are not allowed.

    The rounds of a run are numbered and rounds.json names those that count: a link among them would go on
    pointing at one that does not.
    """
    folder = folder.resolve()  # it may have been named as runs/latest
    link = folder.parent / "latest"
    temporary = folder.parent / f".latest.{os.getpid()}"
    if folder.parent.name == LATER and RunFolder(folder.parent.parent).journal.exists():
        if link.is_symlink():
            link.unlink()  # of an earlier cai
        return
    if link.exists() and not link.is_symlink():
        return  # a real folder of that name is the user's
    with suppress(OSError):
        temporary.symlink_to(folder.name)
        temporary.replace(link)
