"""How often a suite will ask models at most, before any is asked: ``cai run --dry-run``.

The items are counted in the suite's own data. What is less in the end: rows that cannot be used, equal
answers, which nobody compares, and requests that the journal has answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb
from pathlib import Path

from cai.config.run_config import LabelConfig, ModelConfig, RunConfig
from cai.constitution.load import Constitution, load_constitution
from cai.constitution.templates import Templates
from cai.data.chosen import spread
from cai.data.reading import read_rows
from cai.data.sources import read_prompts
from cai.engines import models
from cai.engines.backend import backend, on_a_server
from cai.evaluation.catalogue import Wanted
from cai.evaluation.judging.harm_scale import DEGREES
from cai.evaluation.judging.judge import QUESTIONS
from cai.evaluation.probes.sycophancy_items import FRAMES, Claim, Known, View, shipped
from cai.evaluation.probes.sycophancy_public import TYPES, Framed, public_from
from cai.values.errors import ItemError

WITHOUT_LOGPROBS = ("anthropic",)
RUN_MODELS = 3  # base, SFT model, policy
ANSWERED = {"winrate", "arena", "questions", "refusal", "harmfulness"}  # prompts: the run's, or their own


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests to the models that are measured, and to the judge."""

    models: int
    judge: int = 0

    @property
    def total(self) -> int:
        return self.models + self.judge


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Requests that one pair takes: of the judge over all ``axes`` and under one principle (``quality``), of
    a labeler under the constitution's principles (``own``) and under one (``general``).
    """

    axes: int
    quality: int
    own: int
    general: int


@dataclass(frozen=True, slots=True)
class Size:
    """``n`` items, ``m`` models, what a pair takes, and what one of the judge's questions does."""

    n: int
    m: int
    pair: Verdicts
    asked: int = 1


#: By the suite's name; sycophancy has several kinds of items, and lm-eval asks nobody through an engine.
_COUNTS: dict[str, Callable[[Size], Calls]] = {
    "winrate": lambda s: Calls(s.m * s.n, (s.m - 1) * s.n * s.pair.axes),
    "arena": lambda s: Calls(s.m * s.n, comb(s.m, 2) * s.n * s.pair.axes),
    "mtbench": lambda s: Calls(2 * s.m * s.n, 2 * s.m * s.n * s.asked + (s.m - 1) * s.n * s.pair.quality),
    "preferences": lambda s: Calls(s.m * s.n * s.pair.own),
    "hhh": lambda s: Calls(s.m * s.n * s.pair.general),
    "questions": lambda s: Calls(s.m * s.n, s.m * s.n * (len(QUESTIONS) + 1) * s.asked),
    "agreement": lambda s: Calls(0, s.n * len(QUESTIONS) * s.asked),
    "refusal": lambda s: Calls(s.m * s.n, (s.m * s.n + s.n) * s.asked),
    "xstest": lambda s: Calls(s.m * s.n, s.m * s.n * s.asked),
    "harmfulness": lambda s: Calls(s.m * s.n, s.m * s.n * len(DEGREES) * s.asked),
    "toxigen": lambda s: Calls(s.m * s.n),
}


def calls(
    want: Wanted, config: RunConfig, constitution: Constitution, templates: Templates, held_out: int
) -> Calls | None:
    """Upper bounds for one suite over a run's models and those of ``evaluate.models``; None: lm-eval's.

    Raises:
        UsageError, FileError: the suite's data cannot be read.
    """
    m, name = RUN_MODELS + len(config.evaluate.models), want.suite.name
    if name == "sycophancy":
        counts = _own(config) if want.data is None else _public(want.data, config)
        return _sycophancy(m, counts, verdicts_asked(models.judge(config), config.label))
    if name not in _COUNTS or (name == "toxigen" and not _answers_prompts(want.data)):
        return None
    n = held_out if want.data is None else _items(name, want.data, config.evaluate.items)
    asked = verdicts_asked(models.judge(config), config.label)
    return _COUNTS[name](Size(n, m, _verdicts(config, constitution, templates), asked))


def never_lists(model: ModelConfig) -> bool:
    """Whether it is known beforehand that ``model`` gives no log-probabilities of its answers.

    By its engine, or because a model in this process thinks before it answers.
    """
    return backend(model) in WITHOUT_LOGPROBS or (bool(model.thinking) and not on_a_server(model))


def verdicts_asked(model: ModelConfig, label: LabelConfig) -> int:
    """Requests that one question takes at most: one, or as many verdicts as are sampled."""
    sampled = label.read == "samples" or (label.read == "auto" and never_lists(model))
    return label.samples if sampled else 1


def _verdicts(config: RunConfig, constitution: Constitution, templates: Templates) -> Verdicts:
    label = config.label
    thought, orders = (2 if label.chain_of_thought else 1), (2 if label.both_orders else 1)
    each = thought * verdicts_asked(models.judge(config), label)
    measured = (config.model, *config.evaluate.models.values())
    theirs = thought * max(verdicts_asked(model, label) for model in measured)

    def drawn(under: Constitution) -> int:
        return min(label.principles, len(under.principles))

    axes = [load_constitution(spec, templates) for spec in config.evaluate.axes.values()]
    if all(axis.fingerprint != constitution.fingerprint for axis in axes):
        axes.append(constitution)
    return Verdicts(
        sum(map(drawn, axes)) * orders * each, orders * each, drawn(constitution) * 2 * theirs, 2 * theirs
    )


def _items(name: str, data: str, most: int | None) -> int:
    if name in ANSWERED:
        return len(read_prompts(data, most)[0])
    if name == "hhh":
        from cai.evaluation.suites.hhh import examples

        listed = examples(Path(data).expanduser())
        return _cut(sum(1 for _ in read_rows(data)) if listed is None else len(listed), most)
    rows = (row for _, row in read_rows(data))
    return _cut(sum(len(spread(row)) if isinstance(row, Mapping) else 1 for row in rows), most)


def _answers_prompts(data: str | None) -> bool:
    from cai.evaluation.suites.toxigen import rated

    return data is not None and not rated(data)


def _own(config: RunConfig) -> Mapping[type, int]:
    names = {Claim: "wrong_claims", Framed: "works", Known: "known_answers"}
    counts = {kind: _cut(len(shipped(name)), config.evaluate.items) for kind, name in names.items()}
    return counts | {Framed: counts[Framed] * len(FRAMES)}


def _public(data: str, config: RunConfig) -> Mapping[type, int]:
    """Usable rows by kind; of works, all frames."""
    found: Counter[type] = Counter()
    for number, row in read_rows(data):
        try:
            if isinstance(row, Mapping):
                found[type(public_from(number, row))] += 1
        except ItemError:
            continue  # the suite itself quarantines it
    most = config.evaluate.items
    frames = {kind: len(TYPES) if kind is Framed else 1 for kind in found}
    return {kind: count if most is None else min(count, most * frames[kind]) for kind, count in found.items()}


def _sycophancy(m: int, counts: Mapping[type, int], asked: int = 1) -> Calls:
    """A question with a known answer is asked twice, and judged twice; two answers of each are planted."""
    claims, framed, known, views = (counts.get(kind, 0) for kind in (Claim, Framed, Known, View))
    answers = claims + framed + 2 * known
    return Calls(m * (answers + views), (m * answers + 2 * (claims + known)) * asked)


def _cut(count: int, most: int | None) -> int:
    return count if most is None else min(count, most)
