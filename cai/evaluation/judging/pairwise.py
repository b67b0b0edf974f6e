"""Who answers better: two models' answers to the same prompts, compared by the judge along an axis.

An axis is a constitution ("harmless", "helpful"): the judge is asked as a labeler is, under principles drawn
from it, in both orders of showing. ``p`` is the mean P(the first answer is better), ``win`` says who won.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from cai.constitution.load import Constitution, load_constitution
from cai.data.tables import Row
from cai.evaluation.bench import Bench, answer_all, prompts_of
from cai.stages.degenerate import degenerate
from cai.stages.label import Labeler, label
from cai.values.errors import ItemError
from cai.values.types import Comparison, Failure, Prompt


@dataclass(frozen=True, slots=True)
class Verdict:
    """P(``first``'s answer is better than ``second``'s) along ``axis``; the texts' lengths in characters.

    ``orders``: the same probability with the first model's answer shown first and shown second, averaged over
    the principles; empty where the two texts are the same and the judge was not asked.
    """

    prompt_id: str
    axis: str
    first: str
    second: str
    p: float
    length_first: int
    length_second: int
    orders: tuple[float, ...] = ()

    @property
    def win(self) -> float:
        """1, 0 or a tie's 0.5, as MT-Bench counts: who wins each order of showing; a tie where they differ.

        A judge who is right but doubtful says 0.7, and a mean of that would take 0.3 from every win.
        """
        points = [0.5 if p == 0.5 else float(p > 0.5) for p in self.orders or (self.p,)]
        return fmean(points)

    @property
    def flipped(self) -> bool:
        """Whether the two orders have different winners."""
        return len(self.orders) == 2 and (self.orders[0] - 0.5) * (self.orders[1] - 0.5) < 0


def axes(bench: Bench) -> dict[str, Constitution]:
    """The axes by name: those of ``evaluate.axes``, and the run's own constitution where it is another."""
    found = {name: load_constitution(spec, bench.templates) for name, spec in bench.config.axes.items()}
    if all(axis.fingerprint != bench.constitution.fingerprint for axis in found.values()):
        own = "-".join(bench.constitution.name.replace("/", "-").split())
        found[own if own not in found else f"{own}-own"] = bench.constitution
    return found


async def verdicts(bench: Bench, pairs: Sequence[tuple[str, str]]) -> tuple[list[Verdict], list[Failure]]:
    """Every pair of contestants (by name), on every prompt that both answered, along every axis.

    Quarantined are prompts that somebody did not answer, and pairs on which the judge gave no verdict. Two
    answers with the same text are a tie that nobody is asked about, and so are two that say nothing; one that
    says nothing loses to any other (``stages/degenerate.py``).
    """
    prompts, failures = prompts_of(bench)
    found, unanswered = await answer_all(bench, prompts)
    failures += unanswered
    texts = {name: {r.prompt.id: r.text for r in responses} for name, responses in found.items()}
    done: list[Verdict] = []
    for axis, constitution in axes(bench).items():
        labeler, seed = bench.labeler(), bench.seed_of("suites", axis)

        async def work(
            item: tuple[str, str, Prompt],
            axis: str = axis,
            constitution: Constitution = constitution,
            labeler: Labeler = labeler,
            seed: int = seed,
        ) -> Verdict:
            first, second, prompt = item
            comparison = Comparison(prompt.id, prompt, texts[first][prompt.id], texts[second][prompt.id])
            return await duel(comparison, (axis, first, second), constitution, labeler, seed)

        items = [
            (f"{axis}/{first}-{second}/{prompt.id}", (first, second, prompt))
            for first, second in pairs
            for prompt in prompts
            if prompt.id in texts[first] and prompt.id in texts[second]
        ]
        results = await bench.each(f"judge: {axis}", bench.judge_engine(), items, work)
        done += results.done
        failures += results.failures
    return done, failures


async def duel(
    comparison: Comparison,
    names: tuple[str, str, str],
    axis: Constitution,
    labeler: Labeler,
    seed: int,
) -> Verdict:
    """The verdict on one pair; ``names``: of the axis, and of the models behind ``a`` and ``b``.

    Raises:
        ItemError: the judge gave no readable verdict under any principle.
    """
    lengths = len(comparison.a), len(comparison.b)
    if comparison.a == comparison.b:
        return Verdict(comparison.prompt.id, *names, 0.5, *lengths)
    silent = [degenerate(text) is not None for text in (comparison.a, comparison.b)]
    if any(silent):  # a model that says nothing must not be spared the comparison
        return Verdict(comparison.prompt.id, *names, (1 + silent[1] - silent[0]) / 2, *lengths)
    preference = await label(comparison, labeler, axis, seed)
    if preference.p is None:
        raise ItemError(preference.unscored or "no verdict", preference.raw or "")
    shown = [(j.p_a_first, j.p_b_first) for j in preference.judgements]
    read = [(a, b) for a, b in shown if a is not None and b is not None]
    orders = (fmean(a for a, _ in read), fmean(b for _, b in read)) if read else ()
    return Verdict(comparison.prompt.id, *names, preference.p, *lengths, orders)


def row(verdict: Verdict) -> Row:
    return asdict(verdict) | {"orders": list(verdict.orders), "win": verdict.win}
