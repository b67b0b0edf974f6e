"""What became of every row of an imported file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cai.human.pairs import Refusal
from cai.values.types import Failure, Preference

STAGE = "import"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """``taken`` rows gave at least one vote, each of the others is in ``rejected``: together, all rows.

    ``partial`` are single votes refused within rows that were taken. ``votes`` counts preferences, among
    them ``ties`` (P = 1/2), ``unscored`` ones and labels ``by_models``. ``there`` votes stood at the target
    before, of which ``known`` came again; ``replaced`` when what stood there was written over. ``notes`` say
    how the file was read.
    """

    format: str
    taken: int
    rejected: tuple[Failure, ...]
    partial: tuple[Failure, ...] = ()
    votes: int = 0
    ties: int = 0
    unscored: int = 0
    repeated: int = 0
    by_models: int = 0
    there: int = 0
    known: int = 0
    replaced: bool = False
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return self.taken + len(self.rejected)

    @property
    def by_reason(self) -> Mapping[str, int]:
        """Rejected rows by reason, the most frequent first."""
        return dict(Counter(failure.reason for failure in self.rejected).most_common())

    @property
    def failures(self) -> tuple[Failure, ...]:
        return (*self.rejected, *self.partial)


def describe(report: ImportReport, most: int = 10) -> list[str]:
    """Lines for a person: the counts, the reasons, and the first ``most`` rejected rows."""
    lines = [
        f"{report.format}: {report.taken:,} of {report.rows:,} rows taken, {report.votes:,} votes "
        f"({report.ties:,} ties, {report.unscored:,} unscored, {report.repeated:,} repeated)"
    ]
    lines += [f"  {note}" for note in report.notes]
    if report.by_models:
        lines.append(f"  {report.by_models:,} of the votes are a model's, as the file says")
    lines += _stands(report)
    lines += [f"  {count:,} rejected: {reason}" for reason, count in report.by_reason.items()]
    if report.partial:
        lines.append(f"  {len(report.partial):,} single votes refused in rows that were taken")
    lines += [f"  {f.item}: {f.reason}: {f.detail}".removesuffix(": ") for f in report.failures[:most]]
    if len(report.failures) > most:
        lines.append(f"  … and {len(report.failures) - most:,} more")
    return lines


def _stands(report: ImportReport) -> list[str]:
    """What became of the votes that stood at the target before."""
    if report.replaced:
        return ["  in the place of what was there"]
    if not report.there:
        return []
    added, again = (
        report.votes - report.known,
        f", {report.known:,} were there already" if report.known else "",
    )
    return [
        f"  {added:,} added to the {report.there:,} votes that were there{again} (--replace replaces them)"
    ]


@dataclass(slots=True)
class Tally:
    """A report in the making. ``source`` is the name of the file."""

    format: str = ""
    source: str = ""
    replaced: bool = False
    there: int = 0
    known: int = 0
    by_models: int = 0
    notes: list[str] = field(default_factory=list)
    taken: int = 0
    votes: int = 0
    ties: int = 0
    unscored: int = 0
    repeated: int = 0
    rejected: list[Failure] = field(default_factory=list)
    partial: list[Failure] = field(default_factory=list)

    def vote(self, preference: Preference, repeated: bool) -> None:
        self.votes += 1
        self.repeated += repeated
        self.ties += preference.p == 0.5
        self.unscored += preference.p is None
        self.by_models += preference.source.kind == "ai"

    def row(self, number: int, taken: bool, refusals: Sequence[Refusal]) -> None:
        """Close a row: taken, or rejected for the first of its refusals."""
        if taken:
            self.taken += 1
            self.partial += [_failure(number, refusal) for refusal in refusals]
            return
        first = refusals[0] if refusals else Refusal("no vote", "the row holds none")
        if len(refusals) > 1:
            first = Refusal(
                first.reason, f"{first.detail} (and {len(refusals) - 1} more)".strip(), first.part
            )
        self.rejected.append(_failure(number, first))

    def report(self) -> ImportReport:
        return ImportReport(
            self.format,
            self.taken,
            tuple(self.rejected),
            tuple(self.partial),
            self.votes,
            self.ties,
            self.unscored,
            self.repeated,
            self.by_models,
            self.there,
            self.known,
            self.replaced,
            tuple(dict.fromkeys(self.notes)),
        )

    def failures(self, earlier: Sequence[Failure]) -> list[Failure]:
        """The failures under the name of their file, after those of other files."""
        named = f"{self.source}, "
        kept = [failure for failure in earlier if not failure.item.startswith(named)]
        return kept + [replace(f, item=f"{named}{f.item}") for f in self.report().failures]


def _failure(number: int, refusal: Refusal) -> Failure:
    item = f"row {number}, {refusal.part}" if refusal.part else f"row {number}"
    return Failure(STAGE, item, refusal.reason, refusal.detail)
