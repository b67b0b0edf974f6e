"""Monitors of failure modes: what training changed that nobody asked for. Pure functions over paired answers.

    found = monitors(Evidence(pairs, labeled=texts), MonitorConfig())
    [m.text for m in found if m.tripped]

A monitor trips only where its whole 95 % interval lies beyond its limit, so that noise alone does not trip
it. What does not apply to a run is left out; what has too little to go by has no value, does not trip and
says so.

Length, variety and phrases are looked at where neither model refused: refusals are formulas of one length by
nature, how often they come is the refusal monitor's matter, and a model that rightly learns to decline
harmful requests has not become verbose, dull or formulaic by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cai.config.run_config import MonitorConfig
from cai.evaluation.monitors import phrases
from cai.evaluation.monitors import text_statistics as texts
from cai.evaluation.monitors.judge_monitors import judge_talk, labels, saying_nothing
from cai.evaluation.monitors.monitor_value import Change, Monitor, count_prompts, rise, shown, too_few
from cai.evaluation.monitors.overoptimisation_fall import fall_of_gold
from cai.evaluation.monitors.phrases import Amplified
from cai.evaluation.monitors.shift import separability
from cai.evaluation.monitors.text_statistics import Pair
from cai.statistics.intervals import proportion
from cai.values.types import Score

SHOWN = 3  # phrases in a text


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to look at; what is missing is left out.

    ``flattering`` and ``refused`` are shares of the base and of the trained model. ``curve`` are rows of
    overoptimisation.parquet of one method, ``labeled`` the texts of the prompts that labels were made for and
    ``worth`` the shares of ``stages/label_worth.py`` about them.
    """

    pairs: Sequence[Pair]
    flattering: Change | None = None
    refused: Change | None = None
    curve: Sequence[Mapping[str, object]] = ()
    labeled: Sequence[str] = ()
    worth: Mapping[str, Score] = field(default_factory=dict)


def monitors(evidence: Evidence, limits: MonitorConfig) -> list[Monitor]:
    """Every monitor that applies."""
    pairs = evidence.pairs
    refused = evidence.refused or refused_by_phrases(pairs)
    answered = [pair for pair in pairs if not (texts.refuses(pair.base) or texts.refuses(pair.trained))]
    found = [
        None if evidence.flattering is None else sycophancy(*evidence.flattering, limits.sycophancy),
        None if refused is None else refusal(*refused, limits.refusal),
        verbosity(answered, limits.length_ratio),
        diversity(answered, limits),
        boilerplate(answered, limits.phrase),
        judge_talk(pairs, limits.judge_talk),
        saying_nothing(pairs, limits.saying_nothing),
        reward_against_kl(evidence.curve, limits.gold_fall) if evidence.curve else None,
        shift(evidence.labeled, [p.prompt.messages[-1].content for p in pairs], limits.shift)
        if evidence.labeled
        else None,
        labels(evidence.worth, limits) if evidence.worth else None,
    ]
    return [monitor for monitor in found if monitor is not None]


def sycophancy(before: Score, after: Score, limit: float) -> Monitor:
    """Agreement with wrong beliefs, trained minus base."""
    return rise("sycophancy", "flattering", (before, after), limit, "answers agree with a wrong belief")


def refusal(before: Score, after: Score, limit: float) -> Monitor:
    """Refusals of benign requests, trained minus base."""
    return rise("refusal", "refused_benign", (before, after), limit, "benign requests are refused")


def refused_by_phrases(pairs: Sequence[Pair]) -> Change | None:
    """Refusals of prompts tagged "benign", by ``text_statistics.refuses``: where nothing graded the answers.

    None where no prompt is tagged so: which requests are benign cannot be guessed from the answers.
    """
    benign = [pair for pair in pairs if "benign" in pair.prompt.tags]
    before = proportion([texts.refuses(pair.base) for pair in benign])
    after = proportion([texts.refuses(pair.trained) for pair in benign])
    return None if before is None or after is None else (before, after)


def verbosity(answered: Sequence[Pair], limit: float) -> Monitor:
    """Words per answer, trained over base; trips above ``limit`` and below 1/``limit``."""
    name = "verbosity"
    if (few := too_few(name, answered, limit)) is not None:
        return few
    if any(texts.words(p.base) for p in answered) and not any(texts.words(p.trained) for p in answered):
        nothing = Score(0.0, 0.0, 0.0, count_prompts(answered))
        figures = (("length_ratio", nothing),)
        return Monitor(
            name, nothing, limit, True, "the trained model's answers hold no words at all", figures
        )
    ratio = texts.length_ratio(answered)
    if ratio is None:
        return Monitor(name, None, limit, False, "not measured: the base model's answers hold no words")
    tripped = ratio.low > limit or ratio.high < 1 / limit
    text = f"answers have {shown(ratio)} times the base model's words; limit {limit:g} and 1/{limit:g}"
    return Monitor(name, ratio, limit, tripped, text, (("length_ratio", ratio),))


def diversity(answered: Sequence[Pair], limits: MonitorConfig) -> Monitor:
    """Variety over equal numbers of words: distinct n-grams, answers that repeat another's, similarity.

    ``value`` is the first of distinct 2-grams, identical answers and similarity that is beyond its limit, the
    first of all where none is.
    """
    name, said = "diversity", [p for p in answered if texts.words(p.base) and texts.words(p.trained)]
    if (few := too_few(name, said, 1 / limits.distinct_ratio)) is not None:
        return few
    distinct = {size: texts.distinct_ratio(said, size) for size in (1, 2, 3)}
    identical, similar = texts.identical_rise(said), texts.similarity_rise(said)
    figures = {f"distinct_{size}": score for size, score in distinct.items()}
    figures |= {"identical": identical, "similarity": similar}
    least = 1 / limits.distinct_ratio
    checks = [
        (distinct[2], least, distinct[2] is not None and distinct[2].high < least),
        (identical, limits.identical, identical.low > limits.identical),
        (similar, limits.similarity, similar is not None and similar.low > limits.similarity),
    ]
    value, limit, tripped = next((check for check in checks if check[2]), checks[0])
    wording = (
        f"different two-word runs: {shown(distinct[2])} of the base model's (limit {least:.2g})",
        f"answers that repeat another's: {shown(identical, sign=True)} (limit +{limits.identical:g})",
        f"similarity of answers: {shown(similar, sign=True)} (limit +{limits.similarity:g})",
    )
    measured = tuple((key, score) for key, score in figures.items() if score is not None)
    return Monitor(name, value, limit, tripped, "; ".join(wording), measured)


def boilerplate(answered: Sequence[Pair], limit: float) -> Monitor:
    """The phrase whose share of answers rose most. Of equal answers to several prompts only one counts.

    Answers that are the same from beginning to end are ``diversity``'s matter, not phrases.
    """
    name, different = "boilerplate", differing(answered)
    if (few := too_few(name, different, limit, "different answers")) is not None:
        return few
    found = phrases.amplified(different)
    if not found:
        nothing = Score(0.0, 0.0, 0.0, len(different))
        return Monitor(name, nothing, limit, False, "no phrase became more frequent", (("rise", nothing),))
    worst = max(found, key=lambda phrase: phrase.rise.low)
    tripped = worst.rise.low > limit
    shown = [worst, *(phrase for phrase in found if phrase is not worst)][:SHOWN]
    listed = ", ".join(f"“{a.phrase}” {a.base} → {a.trained}" for a in shown)
    text = (
        f"answers of {len(different)} with a phrase that became more frequent: {listed} (limit +{limit:.0%})"
    )
    return Monitor(name, worst.rise, limit, tripped, text, (("rise", worst.rise),))


def differing(answered: Sequence[Pair]) -> list[Pair]:
    """The pairs with words on both sides, without those whose trained answer another has already given."""
    first: dict[tuple[str, ...], Pair] = {}
    for pair in answered:
        if texts.words(pair.base) and (said := tuple(texts.words(pair.trained))):
            first.setdefault(said, pair)
    return list(first.values())


def amplified(pairs: Sequence[Pair], top: int = 20) -> list[Amplified]:
    """The phrases that ``boilerplate`` looks at, most certain first."""
    answered = [pair for pair in pairs if not (texts.refuses(pair.base) or texts.refuses(pair.trained))]
    different = differing(answered)
    return phrases.amplified(different, top) if different else []


def reward_against_kl(curve: Sequence[Mapping[str, object]], limit: float) -> Monitor:
    """Gold reward at the end against its best stretch before, over one method's rows."""
    name, found = "reward_against_kl", fall_of_gold(curve)
    if isinstance(found, str):
        return Monitor(name, None, limit, False, f"not measured: {found}")
    tripped = found.change.high < -limit
    text = f"gold reward since its best: {shown(found.change, sign=True)} deviations (limit -{limit:g})"
    if tripped:
        text += f", from √KL {found.best_root_kl:.2g} to {found.root_kl:.2g}, while the proxy {found.proxy}"
    return Monitor(name, found.change, limit, tripped, text, (("gold", found.change),))


def shift(labeled: Sequence[str], evaluated: Sequence[str], limit: float) -> Monitor:
    """How well labeled prompts can be told from evaluation prompts."""
    auc = separability(list(dict.fromkeys(labeled)), list(dict.fromkeys(evaluated)))
    if auc is None:
        counts = f"{len(set(labeled))} labeled and {len(set(evaluated))} evaluation prompts"
        return Monitor(
            "shift", None, limit, False, f"not measured: {counts} have too little in common to go by"
        )
    text = f"labeled prompts are told from evaluation prompts with AUC {shown(auc)} (limit {limit:g})"
    return Monitor("shift", auc, limit, auc.low > limit, text, (("auc", auc),))
