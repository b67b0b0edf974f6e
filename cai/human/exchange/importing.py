"""``cai import``: votes of other people's files as preferences, every row taken or rejected with a reason.

    votes = stream("Anthropic/hh-rlhf:test", Options(), tally)      # one at a time
    report = import_votes("votes.csv", Path("votes.jsonl"), Options(columns={...}))

One file per annotator is usual, so that an import adds to the votes that are there; a vote that is there
already (``pairs.fingerprint``) is not added again.

Left out on purpose: what to do with votes that disagree (aggregation) and with AI labels on the same pairs
(mixing). The import keeps every vote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from cai.data import tables
from cai.data.reading import folded, read_rows
from cai.data.rows import Unreadable, plain_name
from cai.human.collected import IMPORTED, votes_of
from cai.human.exchange import store
from cai.human.exchange.fields import Row
from cai.human.exchange.format import Format, Read
from cai.human.exchange.formats import SAMPLE, TOOLS, detect, named, own
from cai.human.exchange.import_report import STAGE, ImportReport, Tally
from cai.human.pairs import Options, Refusal, Vote, check, fingerprint, require_utf8, to_preference
from cai.run.folder import RunFolder
from cai.values.errors import CaiError, FileError, ItemError, Problem, UsageError
from cai.values.types import Preference
from cai.values.words import excerpt


def import_votes(spec: str, target: Path, options: Options, anew: bool = False) -> ImportReport:
    """Add the votes of ``spec`` to ``target``: a run folder (data/human.parquet), .jsonl or .parquet.

    ``anew`` puts them in the place of what was there. A failure of a row goes to the run's failures.jsonl,
    or beside the file, under the name of its file.

    Raises:
        FileError: no such file, no known format, or not one vote in it.
        UsageError: the dataset cannot be had, or ``target`` is neither of the three.
        CaiError: what is at ``target`` cannot be read.
    """
    tally = Tally(source=spec, replaced=anew)
    folder = RunFolder(target) if (target / "config.yaml").is_file() else None
    if folder is None and target.suffix not in store.SUFFIXES:
        raise UsageError(
            f"{target}: neither a run folder nor a file that ends with {', '.join(store.SUFFIXES)}"
        )
    file = target if folder is None else folder.table(IMPORTED)
    there = [] if anew else list(_there(file))
    votes = _added(there, _some(spec, stream(spec, options, tally), tally), tally)
    store.write(file, chain(there, votes))
    if folder is not None:
        earlier = [failure for failure in folder.read_failures() if failure.stage == STAGE]
        folder.record_failures({STAGE}, tally.failures([] if anew else earlier))
    else:
        store.write_failures(file, tally.failures([] if anew else store.read_failures(file)))
    return tally.report()


def _there(file: Path) -> Iterator[Preference]:
    """The votes that an earlier import wrote; none where there is no file."""
    if not file.exists():
        return
    try:
        yield from read_votes(file)
    except CaiError as error:
        raise CaiError(f"{error}, or say --replace to write over it") from None


def _added(there: list[Preference], votes: Iterator[Preference], tally: Tally) -> Iterator[Preference]:
    """The votes that are not there yet; an annotator may have given two equal ones, of which each counts."""
    left = Counter(map(fingerprint, there))
    tally.there = len(there)
    for vote in votes:
        mark = fingerprint(vote)
        if left[mark] > 0:
            left[mark] -= 1
            tally.known += 1
        else:
            yield vote


def read_all(spec: str, options: Options | None = None) -> tuple[list[Preference], ImportReport]:
    """Every vote of ``spec`` in memory. Raises as ``import_votes`` does, but not for a file without votes."""
    tally = Tally()
    votes = list(stream(spec, options or Options(), tally))
    return votes, tally.report()


def read_votes(source: Path, table: str = IMPORTED) -> Iterator[Preference]:
    """The votes of a run (imported, and of its voting page), another table of it, or a file of votes.

    Raises:
        UsageError: there is no such folder, table or file, or no vote in the run.
        CaiError: a row of it cannot be read.
    """
    if source.is_dir():
        folder = RunFolder(source)
        found = votes_of(folder) if table == IMPORTED else folder.read_table(table, tables.preference_from)
        if not found:
            raise UsageError(
                f"{source}: no vote in this run yet (cai annotate and cai import bring some); "
                "its AI labels are in --table preferences"
            )
        yield from found
        return
    for number, row in read_rows(str(source)):
        try:
            if isinstance(row, Unreadable):
                raise ItemError("unreadable row", row.reason)
            for vote in own.read(row, Options()):
                check(vote)
                yield vote
        except ItemError as error:
            raise CaiError(f"{source}: row {number}: {error}; import the file it came from again") from None


def stream(spec: str, options: Options, tally: Tally) -> Iterator[Preference]:
    """The votes of ``spec`` in the file's order; ``tally`` is complete when they are exhausted.

    A file of a format that must be seen as a whole (``Format.learn``) is read twice.
    """
    numbered = read_rows(spec, options.manner)
    head = [(number, _folded(row)) for number, row in islice(numbered, SAMPLE)]
    sample = [row for _, row in head if not isinstance(row, Unreadable) and any_cell(row)]
    options = replace(options, columns=_columns(options, sample))
    format = _format(spec, options, sample)
    tally.format = format.name
    tally.notes = numbered.notes
    if format.learn is not None:
        options, notes = format.learn(spec, _readable(spec, options), options)
        tally.notes += notes
    rest = ((number, _folded(row)) for number, row in numbered)
    rows = _usable(chain(head, rest), tally)
    seen = _Seen(tally)
    if format.gather is not None:
        yield from _gathered(format, rows, options, seen, tally)
        return
    for number, row in rows:
        refusals: list[Refusal] = []
        taken = False
        for read in _reads(format, row, options):
            outcome = seen.admit(read, number)
            if isinstance(outcome, Refusal):
                refusals.append(outcome)
            else:
                taken = True
                yield outcome
        tally.row(number, taken, refusals)


def _folded(row: Row | Unreadable) -> Row | Unreadable:
    return row if isinstance(row, Unreadable) else folded(row)


def _readable(spec: str, options: Options) -> Iterator[Row]:
    for _, row in read_rows(spec, options.manner):
        if not isinstance(row, Unreadable):
            yield folded(row)


def _columns(options: Options, sample: list[Row]) -> dict[str, str]:
    """The columns that the user named, as they are called in the folded rows."""
    there = {str(column) for row in sample for column in row}
    small = {name: plain_name(column) for name, column in options.columns.items()}
    return {
        name: small[name] if column not in there and small[name] in there else column
        for name, column in options.columns.items()
    }


def any_cell(row: Row) -> bool:
    """Whether anything stands in the row."""
    return any(cell not in (None, "") for cell in row.values())


def _format(spec: str, options: Options, sample: list[Row]) -> Format:
    if options.format is not None:
        return named(options.format)
    if options.columns:  # annotation tools name their fields freely as well
        return next((tool for tool in TOOLS if any(map(tool.fits, sample))), named("table"))
    return detect(spec, sample)


def _usable(rows: Iterator[tuple[int, Row | Unreadable]], tally: Tally) -> Iterator[tuple[int, Row]]:
    for number, row in rows:
        if isinstance(row, Unreadable):
            tally.row(number, False, [Refusal("unreadable row", row.reason)])
        elif not any_cell(row):
            tally.row(number, False, [Refusal("empty row")])
        else:
            yield number, row


def _reads(format: Format, row: Row, options: Options) -> Iterator[Read]:
    assert format.read is not None
    try:
        yield from format.read(row, options)
    except ItemError as error:
        yield Refusal.of(error)
    except RecursionError:
        yield Refusal("nested too deeply", "a value of the row cannot be read")


def _gathered(
    format: Format, rows: Iterator[tuple[int, Row]], options: Options, seen: _Seen, tally: Tally
) -> Iterator[Preference]:
    """Votes that span rows: a row is taken when it is part of any."""
    assert format.gather is not None
    taken: set[int] = set()
    refused: dict[int, Refusal] = {}
    for numbers, read in format.gather(rows, options):
        outcome = seen.admit(read, numbers[0])
        if isinstance(outcome, Refusal):
            for number in numbers:
                refused.setdefault(number, outcome)
        else:
            taken.update(numbers)
            yield outcome
    for number in sorted(taken | refused.keys()):
        tally.row(number, number in taken, [refused[number]] if number not in taken else [])


class _Seen:
    """The votes so far, by content and by their ids in the file, with the rows that they came from."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._votes: dict[bytes, int] = {}
        self._keys: dict[str, int] = {}

    def admit(self, read: Read, number: int) -> Preference | Refusal:
        """The preference of a vote, or why it is none: not usable, or seen before.

        A vote with an id of its own is a vote of its own though it says the same as another: annotators are
        shown some pairs twice. Rows that cai wrote are exact copies of such votes. Without either, a repeated
        row is a repeated row.
        """
        if isinstance(read, Refusal):
            return read
        key = read.key if isinstance(read, Vote) else None
        try:
            preference = to_preference(read) if isinstance(read, Vote) else read
            check(preference)
            require_utf8(key or "")
        except ItemError as error:
            return Refusal.of(error)
        if key is not None and key in self._keys:
            return Refusal("id used twice", f"'{excerpt(key)}' is the id of row {self._keys[key]}")
        content = bytes.fromhex(fingerprint(preference))[:16]
        repeated = content in self._votes
        if repeated and key is None and isinstance(read, Vote):
            return Refusal("duplicate", f"repeats row {self._votes[content]}")
        self._votes.setdefault(content, number)
        if key is not None:
            self._keys[key] = number
        self._tally.vote(preference, repeated)
        return preference


def _some(spec: str, votes: Iterator[Preference], tally: Tally) -> Iterator[Preference]:
    """``votes``, of which there must be one: an empty file must not replace a good one."""
    found = False
    for vote in votes:
        found = True
        yield vote
    if not found:
        report = tally.report()
        first = report.rejected[0] if report.rejected else None
        why = f"; {first.item}: {first.reason}: {first.detail}" if first else ""
        raise FileError([Problem(spec, f"no usable vote in {report.rows} rows of {report.format}{why}")])
