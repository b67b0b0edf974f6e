"""What models say of labelled pairs: language models as labelers, reward models by the scores they give.

A labeler is asked as ``label:`` says, in both orders of showing. A reward model scores each response by
itself, and has no order. Either way the verdict is the log-odds of ``a``, a reward difference being log-odds
in the Bradley–Terry model that reward models are trained by.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from cai.config.run_config import ModelConfig
from cai.constitution.load import Constitution
from cai.data.tables import Row
from cai.engines.backend import model_path, on_a_server
from cai.engines.model_files import model_config
from cai.evaluation.bench import Bench, Contestant, of_model
from cai.evaluation.judging.labelled_pairs import Pair
from cai.evaluation.kept import rewards
from cai.run.runner import Results, run_items
from cai.stages.label import Labeler, label
from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.statistics.prediction import PairScore, accuracy
from cai.values.errors import ItemError
from cai.values.types import Failure, Response, Score

LARGEST = 20.0  # log-odds in nats that a probability is taken to mean: those of 0 and 1 are not finite
MOST_PARTS = 40  # figures by category; a file with more has free words there


@dataclass(frozen=True, slots=True)
class Verdict:
    """A model's log-odds of ``a`` on a pair.

    ``orders``: P(a) with ``a`` shown first and with ``b`` shown first, averaged over the principles; empty
    for a reward model.
    """

    pair: Pair
    margin: float
    orders: tuple[float, ...] = ()

    @property
    def flipped(self) -> bool:
        """Whether the two orders have different winners."""
        return len(self.orders) == 2 and (self.orders[0] - 0.5) * (self.orders[1] - 0.5) < 0

    @property
    def scored(self) -> PairScore:
        """The verdict beside its label, as the statistics take it."""
        comparison = self.pair.comparison
        return PairScore(comparison.id, comparison.prompt.id, "", (), self.pair.p, self.margin)


async def prefer_all(
    bench: Bench, pairs: Sequence[Pair], constitution: Constitution
) -> tuple[dict[str, list[Verdict]], list[Failure]]:
    """Every contestant's verdicts by name; reward models first, since each is freed when it is done."""
    found: dict[str, list[Verdict]] = {}
    failures: list[Failure] = []
    folders = {c.name: reward_folder(c.model) for c in bench.contestants}
    for contestant in sorted(bench.contestants, key=lambda c: folders[c.name] is None):
        folder = folders[contestant.name]
        if folder is None:
            results = await _labelled(bench, contestant, pairs, constitution)
        else:
            results = await _rewarded(bench, contestant, folder, pairs)
        found[contestant.name] = results.done
        failures += of_model(contestant.name, results.failures)
    return {c.name: found[c.name] for c in bench.contestants}, failures


def reward_folder(model: ModelConfig) -> Path | None:
    """The checkpoint's folder where the model is a reward model, else None.

    Raises:
        UsageError: there is no such model.
    """
    if on_a_server(model):
        return None
    folder = model_path(model)
    names = model_config(folder).get("architectures") or []
    return folder if any(name.endswith("ForSequenceClassification") for name in names) else None


async def _labelled(
    bench: Bench, contestant: Contestant, pairs: Sequence[Pair], constitution: Constitution
) -> Results[Verdict]:
    engine = bench.engine(contestant.model)
    labeler = Labeler(engine, bench.templates, bench.label.model_copy(update={"both_orders": True}))
    seed = bench.seed_of("suite", "prefer", constitution.name)

    async def work(pair: Pair) -> Verdict:
        preference = await label(pair.comparison, labeler, constitution, seed)
        if preference.p is None:
            raise ItemError(preference.unscored or "no verdict", preference.raw or "")
        shown = [(j.p_a_first, j.p_b_first) for j in preference.judgements]
        read = [(a, b) for a, b in shown if a is not None and b is not None]
        orders = (fmean(a for a, _ in read), fmean(b for _, b in read)) if read else ()
        return Verdict(pair, log_odds(preference.p), orders)

    items = [(pair.comparison.id, pair) for pair in pairs]
    return await bench.each(f"{contestant.name} labels", engine, items, work)


async def _rewarded(
    bench: Bench, contestant: Contestant, folder: Path, pairs: Sequence[Pair]
) -> Results[Verdict]:
    """Verdicts of a reward model, which is loaded only if it has not scored all of it in this folder."""
    from cai.rewards.model import RewardModel

    reward = RewardModel(folder, name=contestant.name, max_length=contestant.model.max_model_len)
    sides = [(pair, answer) for pair in pairs for answer in (pair.comparison.a, pair.comparison.b)]
    responses = [Response(pair.comparison.prompt, answer) for pair, answer in sides]
    try:
        # One model in memory at a time: the engines' own is closed before.
        scored = await rewards(reward, responses, bench.folder, before=bench.close, say=bench.say)
    finally:
        await reward.close()
    numbered = list(zip(pairs, scored[::2], scored[1::2], strict=True))

    async def work(number: int) -> Verdict:
        pair, a, b = numbered[number]
        if a.value is None or b.value is None:
            raise ItemError("no reward", a.reason or b.reason)
        return Verdict(pair, a.value - b.value)

    items = [(pair.comparison.id, number) for number, pair in enumerate(pairs)]
    return await run_items(f"{contestant.name} scores", items, work)


def log_odds(p: float) -> float:
    """log p/(1-p), at most 20 either way; exactly 0 of 0.5."""
    if not 0.0 < p < 1.0:
        return math.copysign(LARGEST, p - 0.5)
    return min(max(math.log(p) - math.log1p(-p), -LARGEST), LARGEST)


def decided(verdicts: Sequence[Verdict]) -> dict[str, Score | None]:
    """``accuracy``, ``accuracy_<part>`` and, of labelers, ``flips``."""
    found: dict[str, Score | None] = {"accuracy": accuracy([v.scored for v in verdicts])}
    for part, own in by_part(verdicts, lambda verdict: verdict.pair.parts).items():
        found[f"accuracy_{part}"] = accuracy([v.scored for v in own])
    return found | {"flips": flips(verdicts)}


def flips(verdicts: Sequence[Verdict]) -> Score | None:
    """Share of pairs whose winner changes with the order of showing."""
    asked = [v for v in verdicts if v.orders]
    return clustered_proportion([v.flipped for v in asked], [v.scored.prompt_id for v in asked])


def first_position(verdicts: Sequence[Verdict]) -> Score | None:
    """Mean P(the response shown first) over both orders: 0.5 of a labeler without a favourite place."""
    asked = [v for v in verdicts if v.orders]
    values = [(v.orders[0] + 1.0 - v.orders[1]) / 2 for v in asked]
    return clustered_mean(values, [v.scored.prompt_id for v in asked], low=0.0, high=1.0)


def prefers_longer(verdicts: Sequence[Verdict]) -> Score | None:
    """Share of the pairs that the model decides, of different lengths, in which it takes the longer one."""
    own = [v for v in verdicts if v.margin != 0 and v.pair.lengths[0] != v.pair.lengths[1]]
    longer = [(v.pair.lengths[0] - v.pair.lengths[1]) * v.margin > 0 for v in own]
    return clustered_proportion(longer, [v.scored.prompt_id for v in own])


def by_part(
    verdicts: Sequence[Verdict], names: Callable[[Verdict], Sequence[str]]
) -> dict[str, list[Verdict]]:
    """Verdicts by part, as it stands in a metric's name; nothing where there is but one part.

    A verdict with several parts counts for each. Of many parts the 40 largest are kept.
    """
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        for part in {part_name(name) for name in names(verdict)} - {""}:
            groups.setdefault(part, []).append(verdict)
    if len(groups) < 2:
        return {}
    sizes = Counter({part: len(own) for part, own in groups.items()})
    kept = {part for part, _ in sizes.most_common(MOST_PARTS)}
    return {part: groups[part] for part in sorted(kept)}


def part_name(text: str) -> str:
    """A category as the end of a metric's name: ``Common sense`` → ``common_sense``."""
    return re.sub(r"\W+", "_", text.casefold()).strip("_")


def row(model: str, verdict: Verdict) -> Row:
    comparison, (length_a, length_b) = verdict.pair.comparison, verdict.pair.lengths
    return {
        "id": comparison.id,
        "prompt_id": comparison.prompt.id,
        "model": model,
        "parts": list(verdict.pair.parts),
        "p": verdict.pair.p,
        "margin": verdict.margin,
        "orders": list(verdict.orders),
        "length_a": length_a,
        "length_b": length_b,
    }
