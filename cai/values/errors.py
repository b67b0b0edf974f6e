"""The error vocabulary. Every message says what was wrong, where, and what to do next.

``cli/app.py`` is the one place that turns these into exit codes:
0 done · 1 failed · 2 usage or configuration · 3 finished with quarantined items · 130 interrupted (Ctrl-C) ·
143 ended by SIGTERM · 129 ended by SIGHUP. After the last three the same command goes on.
"""

from __future__ import annotations

from dataclasses import dataclass


class CaiError(Exception):
    """Base of every error that a user can meet. Exit code 1 unless a subclass says otherwise."""

    exit_code = 1


class UsageError(CaiError):
    """A wrong flag, name, path or combination."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a file. Line and column count from 1; None where the file has no such place."""

    file: str
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{place}: {self.message}"


class FileError(UsageError):
    """A constitution, configuration, template or data file that cannot be used; lists every fault."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class EngineError(CaiError):
    """A model could not be loaded or stopped answering. The stage ends; the journal keeps what came."""


class NoLogprobsError(EngineError):
    """This model never gives log-probabilities: ``choose`` is in vain, ``complete`` may well work.

    ``why``: what it does instead, in its own words where it said some.
    """

    def __init__(self, message: str, why: str = ""):
        self.why = why
        super().__init__(message)


class BudgetError(CaiError):
    """What may be spent on models is spent; what was answered is kept."""


class ItemError(CaiError):
    """One item cannot be processed (too long for the model, empty, …).

    ``runner.py`` turns it into a ``Failure``; the other items go on.
    """

    def __init__(self, reason: str, detail: str = ""):
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class TrainingError(CaiError):
    """Training cannot start or has broken down (no usable rows, a loss that is not finite, …)."""
