"""What figures are called, and which way is better. An unknown figure has a name and no direction."""

from __future__ import annotations

import re

#: name → (words, 1: higher is better, -1: lower is better, 0: neither)
METRICS: dict[str, tuple[str, int]] = {
    "harmful": ("harmful answers", -1),
    "refused_benign": ("benign requests refused", -1),
    "refused_sounds_harmful": ("merely harmful-sounding requests refused", -1),
    "on_topic": ("answers on topic", 1),
    "flattering": ("flattering answers", -1),
    "gold": ("answers on topic and without fault", 1),
    "length": ("words per answer", 0),
    "cut_off": ("answers cut off", -1),
    "win_rate": ("win rate", 1),
    "win_rate_length_controlled": ("win rate, length-controlled", 1),
    "mc1": ("best answer found (MC1)", 1),
    "mc2": ("probability of true answers (MC2)", 1),
    "bias_ambiguous": ("bias where the context does not say (0: none)", 0),
    "bias_disambiguated": ("bias where the context says (0: none)", 0),
    "toxic": ("toxic answers", -1),
    "toxicity": ("mean toxicity of answers", -1),
    "rating": ("rating by the judge, 1 to 10", 1),
    "refused_safe": ("safe requests refused", -1),
    "refused_unsafe": ("unsafe requests refused", 1),
    "refused_harmful": ("harmful requests refused", 1),
    "harmfulness": ("harmfulness by the judge, 0 to 4", -1),
    "agrees_with_wrong_claim": ("wrong claims agreed with", -1),
    "feedback_shift_love": ("praise more likely where the author loves the work (0: no difference)", 0),
    "feedback_shift_hate": ("praise more likely where the author hates the work (0: no difference)", 0),
    "right_first_answer": ("right answers before a challenge", 1),
    "gives_up_right_answer": ("right answers given up when challenged", -1),
    "right_on_claims": ("planted agreements and corrections told apart", 1),
    "right_on_answers": ("planted right and wrong answers told apart", 1),
    "matches_user_view": ("answers that match the user's view (0.5: no leaning)", -1),
    "kappa": ("Cohen's κ with the labels", 1),
    "log_loss": ("log-loss", -1),
    "ece": ("calibration error", -1),
    "flips": ("winner changes with the order of showing", -1),
    "first_position": ("P(the response shown first)", 0),
    "prefers_longer": ("prefers the longer response", 0),
}
SUITES = {
    "pocket": "graded by the pocket oracle",
    "judge": "graded by the AI judge",
    "questions": "the judge's four questions about every answer",
    "agreement": "the judge against people",
    "arena": "ratings from games of all against all (Elo, the baseline at 1,000)",
    "winrate": "win rates against the baseline, a win in one order alone being a tie",
    "mtbench": "two-turn questions, rated and compared by the AI judge",
    "preferences": "labelled pairs, decided by the models",
    "hhh": "helpful, honest and harmless comparisons, decided by the models",
    "text": "counted from the answers",
    "refusal": "refusals on the held-out prompts, graded by the AI judge",
    "xstest": "requests that sound unsafe, and unsafe ones; refusals graded by the AI judge",
    "harmfulness": "how harmful answers are, rated by the AI judge",
    "sycophancy": "saying what the user likes to hear",
    "truthfulqa": "true answers among false ones, by likelihood (lm-eval)",
    "bbq": "questions about groups of people, by likelihood (lm-eval)",
    "toxigen": "hateful statements told by likelihood (lm-eval), or toxicity of answers",
}
_REFUSING = {"refused", "refusal", "refusals", "refuses"}
_WORSE = {
    "harmful", "harmfulness", "harm", "toxic", "toxicity", "sycophantic", "sycophancy", "flattering", "error",
    "errors", "ece", "brier", "flips", "violation", "violations", "overrefusal", "stereotyped",
}  # fmt: skip
_BETTER = {
    "helpful", "helpfulness", "harmless", "harmlessness", "honest", "honesty", "truthful", "truthfulness",
    "accuracy", "correct", "quality", "agreement", "win", "wins", "mc1", "mc2", "topic", "rating", "elo",
}  # fmt: skip

MODELS = {"base": "base", "sft": "SFT", "best-of-n": "best of n", "policy": "policy"}

OUTCOMES = {
    "revised": "revised",
    "no_problem": "no problem found",
    "unchanged": "problem found, text unchanged",
    "empty": "revision empty",
    "cut_off": "revision cut off",
    "refused": "critic refused",
}


def name_of(metric: str) -> str:
    known = METRICS.get(metric)
    return known[0] if known else metric.replace("_", " ").replace("/", " · ")


def direction(metric: str) -> int:
    """1 where higher is better, -1 where lower is, 0 where that is not known.

    A refusal of something harmful is no fault and a refusal of something benign is, so a name that speaks
    of refusals and says neither (or something harmful) has no direction.
    """
    if metric in METRICS:
        return METRICS[metric][1]
    words = set(re.findall(r"[a-z0-9]+", metric.lower().replace("over_ref", "overref")))
    if words & _REFUSING:
        return -1 if words & {"benign", "safe"} and not words & {"unsafe", "harmful"} else 0
    worse, better = bool(words & _WORSE), bool(words & _BETTER)
    return 0 if worse == better else (-1 if worse else 1)


def is_part(metric: str, others: set[str]) -> bool:
    """Whether a figure is a part of another one, as ``harmful_theft`` is of ``harmful``."""
    return any(metric.startswith((f"{other}_", f"{other}/")) for other in others - {metric})


def model_name(model: str) -> str:
    return MODELS.get(model, model)


def stage_model(name: str) -> str:
    """A model's name without the way to its run folder: ``…/checkpoints/sft`` → ``checkpoints/sft``."""
    head, mark, tail = name.rpartition("checkpoints/")
    del head
    return f"{mark}{tail}" if mark else name
