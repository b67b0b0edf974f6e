"""Where annotators are served: what each sees next, their votes taken once, and taken back. No HTTP here.

One desk per process, used from one thread: every step from looking at the votes to storing one is taken
without another coming between.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from cai.human.votes.assignment import (
    LEASE,
    Lease,
    Mark,
    Marks,
    Plan,
    Progress,
    Showing,
    next_showing,
    progress,
    shown_first,
    ticket,
)
from cai.human.votes.log import CHOICES, SCALE, Choice, Vote, VoteLog
from cai.human.votes.poll import Item, Options, Poll
from cai.values.errors import ItemError
from cai.values.readable import invisible

MAX_NAME = 60  # characters of an annotator's name
MAX_REASON = 5_000  # characters of a reason
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Status = Literal["stored", "already"]


@dataclass(frozen=True, slots=True)
class Shown:
    """An item as it lies before an annotator: the responses in the order of showing."""

    key: str
    ticket: str
    item: Item
    responses: tuple[str, str]


@dataclass(frozen=True, slots=True)
class View:
    """Everything that an annotator's page shows. ``said`` counts their standing votes by kind."""

    shown: Shown | None
    progress: Progress
    said: Mapping[str, int]
    last: Vote | None


@dataclass(frozen=True, slots=True)
class Paper:
    """A vote as it comes from the page. ``key`` and ``ticket`` are those of what was shown."""

    uuid: str
    annotator: str
    key: str
    ticket: str
    choice: Choice
    strength: int | None = None
    reason: str | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Desk:
    """``clock`` counts seconds for the leases."""

    poll: Poll
    options: Options
    log: VoteLog
    clock: Callable[[], float] = time.monotonic
    plan: Plan = field(init=False)
    _marks: Marks = field(init=False)
    _leases: dict[str, Lease] = field(default_factory=dict)

    def __post_init__(self) -> None:
        items = tuple(self.poll.items)
        self.plan = Plan(items, self.poll.seed, self.options.per_pair, self.options.repeat)
        self._marks = Marks(map(_mark, self.log.standing))

    def view(self, annotator: str) -> View:
        """What the annotator sees now; the pair is theirs for a while."""
        plan, marks, now = self.plan, self._marks, self.clock()
        showing = next_showing(plan, annotator, marks, self._leases, now)
        if showing is None:
            self._leases.pop(annotator, None)
        else:
            self._leases[annotator] = Lease(showing, now + LEASE)
        mine = self.log.of(annotator)
        return View(
            None if showing is None else self._shown(annotator, showing),
            progress(plan, annotator, marks, self._leases, now),
            Counter("preferred" if vote.choice in ("first", "second") else vote.choice for vote in mine),
            mine[-1] if mine else None,
        )

    def find(self, annotator: str, key: str, name: str) -> tuple[Shown, Showing]:
        """The showing that a ticket names.

        Raises:
            ItemError: there is no such showing: the run's pairs or questions have changed since.
        """
        if key in self.poll.items:
            for showing in (Showing(key), Showing(key, repeat=True)):
                if ticket(self.poll.seed, annotator, showing) == name:
                    return self._shown(annotator, showing), showing
        raise ItemError("changed", "this pair is no longer asked about as it was shown; here is the next one")

    def vote(self, paper: Paper) -> Status:
        """Store a vote. "already": another vote of the annotator on the same showing stands.

        A vote that is sent again is stored already, even if it was taken back since.

        Raises:
            ItemError: the vote is not one, or of something that is no longer asked.
            CaiError: it could not be stored.
        """
        if (author := self.log.author(paper.uuid)) is not None:
            if author != paper.annotator:
                raise ItemError("id used twice", "another annotator's vote has it")
            return "stored"
        shown, showing = self.find(paper.annotator, paper.key, paper.ticket)
        if self._marks.has(paper.annotator, showing):
            return "already"
        question = shown.item.question
        vote = Vote(
            paper.uuid,
            paper.annotator,
            paper.key,
            shown.item.pair,
            question.id,
            question.text,
            shown_first(self.poll.seed, paper.annotator, showing),
            paper.choice,
            paper.strength if paper.choice in ("first", "second") else None,
            paper.reason,
            showing.repeat,
            paper.seconds,
        )
        self.log.cast(vote, shown.item.comparison)
        self._marks.append(_mark(vote))
        self._leases.pop(paper.annotator, None)
        return "stored"

    def take_back(self, uuid: str, annotator: str, name: str) -> Vote | None:
        """Take the vote ``name`` back and show its pair again; None when it does not stand any more."""
        vote = self.log.get(name)
        if self.log.author(uuid) is not None or vote is None or vote.annotator != annotator:
            return None
        self._take_back(annotator, {uuid: vote})
        if vote.item in self.poll.items:
            self._leases[annotator] = Lease(Showing(vote.item, vote.repeat), self.clock() + LEASE)
        return vote

    def unskip(self, uuid: str, annotator: str) -> int:
        """Take all skips of the annotator back, so that these pairs come again. Returns how many."""
        if self.log.author(f"{uuid}.1") is not None:
            return 0
        skips = [vote for vote in self.log.of(annotator) if vote.choice == "skip"]
        self._take_back(annotator, {f"{uuid}.{number}": vote for number, vote in enumerate(skips, 1)})
        return len(skips)

    def _take_back(self, annotator: str, votes: Mapping[str, Vote]) -> None:
        self.log.take_back(annotator, {uuid: vote.uuid for uuid, vote in votes.items()})
        for vote in votes.values():
            self._marks.remove(annotator, _mark(vote).showing)

    def _shown(self, annotator: str, showing: Showing) -> Shown:
        item = self.poll.items[showing.item]
        pair = item.comparison
        first = shown_first(self.poll.seed, annotator, showing)
        responses = (pair.a, pair.b) if first == "a" else (pair.b, pair.a)
        return Shown(showing.item, ticket(self.poll.seed, annotator, showing), item, responses)


def _mark(vote: Vote) -> Mark:
    return Mark(vote.annotator, Showing(vote.item, vote.repeat), vote.choice == "skip")


def clean_name(text: object) -> str:
    """An annotator's name: one spelling per name that looks the same.

    Raises:
        ItemError: it is empty, too long, or has characters that cannot be seen.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split()) if isinstance(text, str) else ""
    if invisible(name) or len(name) > MAX_NAME or not name.isprintable():
        raise ItemError("name", f"a name has 1 to {MAX_NAME} visible characters")
    return name


def clean_uuid(value: object) -> str:
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value
    raise ItemError("id", "not a UUID in lower case")


def clean_paper(body: Mapping[str, object]) -> Paper:
    """A vote from the JSON of a request. Raises ItemError with what is wrong with it."""
    choice, strength, seconds = body.get("choice"), body.get("strength"), body.get("seconds")
    reason, key, name = body.get("reason"), body.get("pair"), body.get("showing")
    if choice not in CHOICES:
        raise ItemError("choice", f"one of {', '.join(CHOICES)}")
    if strength is not None and (type(strength) is not int or not 1 <= strength <= SCALE):
        raise ItemError("strength", f"a whole number from 1 to {SCALE}")
    if reason is not None and (not isinstance(reason, str) or len(reason) > MAX_REASON):
        raise ItemError("reason", f"a text of at most {MAX_REASON:,} characters")
    if not isinstance(key, str) or not isinstance(name, str):
        raise ItemError("pair", "the vote does not say what was shown")
    paper = Paper(clean_uuid(body.get("uuid")), clean_name(body.get("annotator")), key, name, choice)
    return replace(
        paper,
        strength=strength,
        reason=_well_formed(reason).strip() or None if reason else None,
        seconds=float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e6 else None,
    )


def _well_formed(text: str) -> str:
    """``text`` with what UTF-8 cannot say replaced; JSON can carry half a character."""
    return text.encode("utf-8", "replace").decode("utf-8")
