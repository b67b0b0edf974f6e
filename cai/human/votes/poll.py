"""What is voted on: the pairs of a run, each under the question that is asked about it.

Pairs come from data/queue.parquet where routing has written one (in the order of its ranks, these pairs
alone), else from data/comparisons.parquet in a seeded order. The question is that of the principle under
which the AI labeler judged the pair; where there is no label yet, of the principle that the labeler would
draw for it. So people and labeler answer the same question. Nothing else of a label or a rank goes on from
here: what the page does not get it cannot show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.config.yamlfile import MAX_BYTES, read_yaml
from cai.constitution.load import Constitution, Principle, draw, load_constitution
from cai.data import tables
from cai.human.pairs import check
from cai.human.votes.assignment import shuffled
from cai.human.votes.log import content_hash
from cai.run.folder import RunFolder
from cai.run.journal import digest
from cai.values.errors import ItemError, UsageError
from cai.values.readable import invisible, wordless
from cai.values.types import Comparison, Preference, Source
from cai.values.words import slug

QUEUE, COMPARISONS, LABELS = "queue", "comparisons", "preferences"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may choose about a poll.

    ``question`` replaces the principles' questions; ``guidelines`` is a Markdown file to show beside it;
    ``per_pair`` annotators vote on each pair and see a share ``repeat`` of their pairs twice; ``strength``
    asks how much better. ``port`` 0 is the port of the last time, or any that is free.
    """

    question: str | None = None
    guidelines: Path | None = None
    per_pair: int = 1
    repeat: float = 0.05
    strength: bool = False
    port: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; ``principle`` is None for a question of the user's own."""

    id: str
    text: str
    principle: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A pair under a question. ``pair`` is the hash of the comparison's content."""

    comparison: Comparison
    pair: str
    question: Question


@dataclass(frozen=True, slots=True)
class Poll:
    """``items`` by key, in the order of showing. ``left_out`` counts pairs on which no vote can be cast."""

    items: Mapping[str, Item]
    seed: int
    queued: bool
    left_out: int
    constitution: Constitution | None
    guidelines: str | None


def load_poll(run: Path, options: Options) -> Poll:
    """The poll over the pairs of a run folder.

    Raises:
        UsageError: no run folder, no pairs in it yet, nothing to ask, or an option out of range.
        CaiError: a table is damaged.
    """
    _check(options)
    folder = RunFolder(run)
    if not (run / "data").is_dir():
        raise UsageError(f"{run}: not a run folder (no data in it); cai run makes one")
    seed = _seed(run)
    queued = folder.table(QUEUE).exists()
    if queued:
        ranked = folder.read_table(QUEUE, lambda row: (int(row["rank"]), tables.comparison_from(row)))
        comparisons = [comparison for _, comparison in sorted(ranked, key=lambda pair: pair[0])]
    else:
        comparisons = folder.read_table(COMPARISONS, tables.comparison_from)
    hashed = {content_hash(comparison): comparison for comparison in comparisons if _usable(comparison)}
    if not hashed:
        source = folder.table(QUEUE if queued else COMPARISONS)
        raise UsageError(f"{source}: no pair in it that can be voted on ({len(comparisons)} rows)")
    if not queued:
        hashed = {name: hashed[name] for name in shuffled(list(hashed), seed)}
    constitution = _constitution(run, options)
    ask = _asker(folder, constitution, seed, options)
    items = [Item(comparison, name, ask(comparison)) for name, comparison in hashed.items()]
    return Poll(
        items={digest("item", item.pair, item.question.id, item.question.text)[:32]: item for item in items},
        seed=seed,
        queued=queued,
        left_out=sum(not _usable(comparison) for comparison in comparisons),
        constitution=constitution,
        guidelines=None if options.guidelines is None else _text(options.guidelines),
    )


def _check(options: Options) -> None:
    if options.per_pair < 1:
        raise UsageError(f"--per-pair is {options.per_pair}; every pair needs at least 1 annotator")
    if not 0.0 <= options.repeat <= 1.0:
        raise UsageError(f"--repeat is {options.repeat}; it is a share, from 0 to 1")
    if not 0 <= options.port <= 65535:
        raise UsageError(f"--port is {options.port}; ports go from 1 to 65535")
    if options.question is not None and wordless(options.question):
        raise UsageError("--question is empty or says nothing; leave it out to ask the principles' questions")


def _seed(run: Path) -> int:
    config = run / "config.yaml"
    data: Any = read_yaml(config).data if config.is_file() else None
    seed = data.get("seed", 0) if isinstance(data, dict) else 0
    return seed if isinstance(seed, int) else 0


def _usable(comparison: Comparison) -> bool:
    try:
        check(Preference(comparison, 0.5, Source("human", "")))
    except ItemError:
        return False
    return True


def _constitution(run: Path, options: Options) -> Constitution | None:
    file = run / "constitution.yaml"
    if file.is_file():
        return load_constitution(file)
    if options.question is None:
        raise UsageError(f"{file}: not there, so there is nothing to ask; give --question TEXT")
    return None


def _asker(
    folder: RunFolder, constitution: Constitution | None, seed: int, options: Options
) -> Callable[[Comparison], Question]:
    """Comparison → the question that is asked about it."""
    if options.question is not None:
        text = options.question.strip()
        # Votes under two wordings are never taken for votes on the same question.
        fixed = Question("-".join(filter(None, ("question", slug(text), digest(text)[:6]))), text)
        return lambda comparison: fixed
    assert constitution is not None  # ``_constitution`` has refused
    principles = {principle.id: principle for principle in constitution.principles}
    judged: dict[str, str] = {}
    if folder.table(LABELS).exists():
        for name, ids in folder.read_table(LABELS, _judged_under):
            judged |= dict.fromkeys([name], ids[0]) if ids else {}

    def ask(comparison: Comparison) -> Question:
        labeled = principles.get(judged.get(comparison.id, ""))
        return _of(labeled or draw(constitution, seed, comparison.id))

    return ask


def _judged_under(row: dict[str, Any]) -> tuple[str, list[str]]:
    return row["id"], [judgement["principle_id"] for judgement in row["judgements"]]


def _of(principle: Principle) -> Question:
    return Question(principle.id, principle.question, principle.principle)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: more than {MAX_BYTES >> 20} MiB of guidelines; shorten them")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    if invisible(text):
        raise UsageError(f"{path}: nothing in it that can be seen; leave --guidelines out, or write some")
    return text
