"""Statistics of paired answers: words, refusals, length, variety. Pure functions over texts.

Every interval is between prompts. A ``Pair`` is two models' answers to one prompt.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cai.statistics.clusters import clustered_mean, wilson
from cai.statistics.difference import difference
from cai.statistics.intervals import CONFIDENCE
from cai.values.types import Prompt, Score

Floats = npt.NDArray[np.float64]

_CJK = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: every sign counts as a word
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_])+(?:'(?:(?![{_CJK}])[^\W_])+)*")
_BEGINNING = 200  # characters in which a refusal is looked for
_DO = "help|assist|do|provide|give|share|answer|comply|support|discuss|write|create|tell|engage|offer|fulfil"
_REFUSAL = re.compile(
    rf"\b(?:can't|cannot|can not|won't|will not|couldn't) (?:\w+ly )?(?:{_DO})\b"
    rf"|\b(?:am|'m|be) (?:not able|unable|not going|not comfortable)(?: to (?:{_DO})| \w+ing)\b"
    r"|\bwould rather not\b|\bmust (?:decline|refuse)\b|\bhave to (?:decline|refuse)\b"
    r"|\bi (?:refuse|decline) to\b|\bsorry, (?:but )?i (?:can't|cannot|can not|won't|must)\b"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """The base model's and the trained model's answer to one prompt."""

    prompt: Prompt
    base: str
    trained: str


def words(text: str) -> list[str]:
    """Lower-cased words; each sign of Chinese and Japanese is one."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def refuses(text: str) -> bool:
    """Whether an English answer declines, going by fixed phrases near its beginning.

    What it cannot see: other languages, and refusals in other words. What it takes for one wrongly: an answer
    that quotes such a phrase.
    """
    return bool(_REFUSAL.search(text[:_BEGINNING].lower().replace("\u2019", "'")))


def length_ratio(pairs: Sequence[Pair]) -> Score | None:
    """Words of the trained model's answers over the base model's: a ratio of means.

    The log of it is linearised (delta method) and gets ``clustered_mean``'s interval. None where either side
    has no words at all, or with a single prompt.
    """
    base, trained = ([len(words(text)) for text in side] for side in _sides(pairs))
    if not sum(base) or not sum(trained):
        return None
    mean_base, mean_trained = sum(base) / len(pairs), sum(trained) / len(pairs)
    values = [t / mean_trained - b / mean_base for b, t in zip(base, trained, strict=True)]
    log = clustered_mean(values, [pair.prompt.id for pair in pairs])
    if log is None:
        return None
    ratio = mean_trained / mean_base
    return _exp(Score(math.log(ratio), log.low + math.log(ratio), log.high + math.log(ratio), log.n))


def distinct_ratio(pairs: Sequence[Pair], size: int) -> Score | None:
    """Distinct-n (Li et al. 2016): different ``size``-grams of the trained model's answers over the base's.

    Both answers to a prompt are cut to the words of the shorter one, so that both models are looked at over
    equal numbers of words: longer texts always repeat more. Jackknife of the log ratio between prompts.
    None where a side is left without any.
    """
    base: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    trained: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for pair in pairs:
        first, second = _cut(pair)
        base[pair.prompt.id] |= grams(first, size)
        trained[pair.prompt.id] |= grams(second, size)
    (b, without_b), (t, without_t) = _distinct(base), _distinct(trained)
    if min(b, t) == 0 or (without_b <= 0).any() or (without_t <= 0).any():
        return None
    log = jackknife(math.log(t / b), np.log(without_t / without_b))
    return _exp(log)


def identical_rise(pairs: Sequence[Pair]) -> Score:
    """Share of answers that repeat the answer to another prompt: trained minus base."""
    before, after = (_repeated(pairs, side) for side in _sides(pairs))
    return difference(before, after)


def similarity_rise(pairs: Sequence[Pair]) -> Score | None:
    """Mean TF-IDF cosine between answers to different prompts: trained minus base.

    Answers are cut as in ``distinct_ratio``: longer ones share more words by chance. Word weights come from
    both sides together. Jackknife between prompts. None of fewer than three pairs, or without any word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

    base, trained = [_cut(pair)[0] for pair in pairs], [_cut(pair)[1] for pair in pairs]
    if len(pairs) < 3 or not any(base):
        return None
    vectors = TfidfVectorizer(analyzer=list).fit_transform([*base, *trained])
    before, without_before = _cosines(vectors[: len(pairs)])
    after, without_after = _cosines(vectors[len(pairs) :])
    return jackknife(after - before, without_after - without_before)


def grams(tokens: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """The runs of ``size`` words."""
    return {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}


def jackknife(value: float, without: Floats) -> Score:
    """``value`` with Student's t interval from its values without each unit [G] (Efron and Stein 1981)."""
    from scipy.stats import t

    groups = len(without)
    variance = (groups - 1) / groups * float(((without - without.mean()) ** 2).sum())
    half = float(t.ppf((1 + CONFIDENCE) / 2, max(1, groups - 1))) * math.sqrt(variance)
    return Score(value, value - half, value + half, groups)


def _exp(log: Score) -> Score:
    low, high = (math.exp(min(50.0, bound)) for bound in (log.low, log.high))
    return Score(math.exp(log.value), low, high, log.n)


def _sides(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [pair.base for pair in pairs], [pair.trained for pair in pairs]


def _cut(pair: Pair) -> tuple[list[str], list[str]]:
    """The words of both answers, as many of each as the shorter one has."""
    base, trained = words(pair.base), words(pair.trained)
    shared = min(len(base), len(trained))
    return base[:shared], trained[:shared]


def _distinct(held: dict[str, set[tuple[str, ...]]]) -> tuple[int, Floats]:
    """Number of different grams, and that number without each prompt: [G]."""
    prompts = Counter(gram for own in held.values() for gram in own)
    alone = [sum(prompts[gram] == 1 for gram in own) for own in held.values()]
    return len(prompts), len(prompts) - np.array(alone, dtype=np.float64)


def _repeated(pairs: Sequence[Pair], texts: Sequence[str]) -> Score:
    said: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for pair, text in zip(pairs, texts, strict=True):
        said[tuple(words(text))].add(pair.prompt.id)
    repeated = sum(len(said[tuple(words(text))]) > 1 for text in texts)
    share = repeated / len(texts)
    low, high = wilson(share, len(texts))
    return Score(share, low, high, len({pair.prompt.id for pair in pairs}))


def _cosines(vectors: object) -> tuple[float, Floats]:
    """Mean cosine of two different rows of unit vectors [N, V] (sparse), and without each row: [N]."""
    rows = vectors.toarray() if hasattr(vectors, "toarray") else np.asarray(vectors)
    total, n = rows.sum(0), len(rows)
    norms = (rows**2).sum(1)
    whole = float(total @ total) - float(norms.sum())  # over ordered pairs
    own = 2 * (rows @ total - norms)
    without: Floats = (whole - own) / ((n - 1) * (n - 2))
    return whole / (n * (n - 1)), without
