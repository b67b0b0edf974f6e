"""Do two sets of prompts ask for the same kinds of things? A classifier two-sample test.

A logistic regression on TF-IDF learns to tell one set from the other (Lopez-Paz and Oquab 2017); its AUC on
prompts that it has not seen is 0.5 where the sets are alike and 1 where each prompt gives its set away. Only
words that occur in at least 2 % of all prompts take part: a new name or thing is no other kind of request,
and rare words would tell any two finite sets apart. So it sees kinds and wording of requests, and no rare
subjects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cai.evaluation.monitors.text_statistics import words
from cai.statistics.intervals import CONFIDENCE
from cai.values.types import Score

FOLDS = 5
MIN_SHARE = 0.02
MIN_PROMPTS = 20  # on each side

Floats = npt.NDArray[np.float64]


def separability(first: Sequence[str], second: Sequence[str], seed: int = 0) -> Score | None:
    """Cross-validated AUC with the influence-curve interval of LeDell et al. (2015).

    Returns:
        None of fewer than 20 texts on a side, and where no word is common enough.
    """
    if min(len(first), len(second)) < MIN_PROMPTS:
        return None
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped]
    from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]

    texts = np.array([*first, *second], dtype=object)
    side = np.array([0] * len(first) + [1] * len(second))
    parts = []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(texts, side):
        vectorizer = TfidfVectorizer(analyzer=words, min_df=MIN_SHARE)
        model = make_pipeline(vectorizer, LogisticRegression(class_weight="balanced", max_iter=1000))
        try:
            model.fit(texts[train], side[train])
        except ValueError:  # scikit-learn: "no terms remain"
            return None
        parts.append(_placements(model.decision_function(texts[test]), side[test]))
    return _auc(parts)


def _placements(scores: Floats, side: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Share of the other side that each text is ordered rightly against, ties half: [second], [first]."""
    after, before = scores[side == 1][:, None], scores[side == 0][None, :]
    right = (after > before) + 0.5 * (after == before)
    return right.mean(1), right.mean(0)


def _auc(parts: Sequence[tuple[Floats, Floats]]) -> Score:
    from scipy.stats import norm

    value = float(np.mean([second.mean() for second, _ in parts]))
    variance, n = 0.0, 0
    for one in zip(*parts, strict=True):  # each side's placements, fold by fold
        spread = np.concatenate([placed - placed.mean() for placed in one])
        variance += float((spread**2).sum()) / (len(spread) - len(one)) / len(spread)
        n += len(spread)
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Score(value, max(0.0, value - half), min(1.0, value + half), n)
