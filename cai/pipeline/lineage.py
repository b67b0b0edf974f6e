"""What every step depends on and what it leaves: the one table behind origins.json (``run/origin.py``).

A step that depends on a setting, a model or a file which is not named here would be shown as current when it
is not: ``tests/pipeline/test_lineage.py`` holds that every setting is named, or is one of ``NEUTRAL``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cai.config import train_config
from cai.config.run_config import RunConfig
from cai.config.settings import flattened
from cai.engines.local.vllm_arguments import PLACING
from cai.pipeline.order import LEARN
from cai.run.origin import Outputs
from cai.values.types import Failure

ANSWERS = ("evaluate.temperature", "evaluate.top_p", "evaluate.max_tokens")
REWARD = ("reward", "gold")
POLICY = "policy"  # as a step that is read: whichever method's last step made checkpoints/policy

#: Settings that change no output: how fast, how often saved, where to, or what is asked for besides.
NEUTRAL = (
    "report_to",
    "memory",
    "budget.usd",
    "budget.tokens",
    "rounds.count",
    "rounds.patience",
    "rounds.max_refused_benign",
    "rounds.max_length_ratio",
    "rounds.max_kl",
)
#: What suites depend on: suites.json has its own record of whom and what they measured (steps/suites.py).
SUITES = (
    "evaluate.suites",
    "evaluate.items",
    "evaluate.models",
    "evaluate.baseline",
    "evaluate.toxicity_classifier",
    "evaluate.toxicity_label",
    "evaluate.axes",
)
#: Settings that say which model or file; the inputs ``#model``, ``#prompts`` … are made of what is in it.
NAMES = (
    "model",
    "critic",
    "labeler",
    "evaluate.judge",
    "constitution",
    "templates",
    "prompts",
    "column",
    "limit",
    "evaluate.prompts",
    "evaluate.limit",
    "sft.helpful_prompts",
)
#: Settings that came later, at the values that say what was done before there were any. At these they are not
#: among a step's inputs, so that nothing of an earlier cai is stale by a setting that changes nothing of it.
IMPLIED = {
    "label.read": "auto",
    "label.samples": "8",
    "label.stop_early": "False",
    "label.min_mass": "0.0",
    "label.uncertainty_weights": "True",
    "label.form": "pair",
    "label.average": "probabilities",
    "label.calibrate": "False",
    **{
        f"{section}.{name}": str(value)
        for section in ("sft", "dpo", "reward_model", "ppo", "grpo", "rloo")
        for name, value in train_config.IMPLIED.items()
    },
}
#: Fields of trainings that are no part of what is trained: how often it is saved, and who draws the
#: responses, which may change in its midst (``training/rl/ppo_state.py``).
_NO_WEIGHT = ("save_steps", "save_minutes", "sampler")


@dataclass(frozen=True, slots=True)
class Lineage:
    """``reads``: steps; ``settings``: sections or single settings; ``given``: names of ``GIVEN``.

    ``uses``: steps whose outputs are taken along where they are there and current, and not missed otherwise.
    """

    reads: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    outputs: Outputs = field(default_factory=Outputs)
    uses: tuple[str, ...] = ()


def _leaves(
    *tables: str,
    checkpoint: str | None = None,
    metrics: tuple[str, ...] = (),
    failures: tuple[str, ...] = (),
) -> Outputs:
    return Outputs(tables, checkpoint, metrics, failures)


def _answers(name: str, reads: tuple[str, ...], *more: str) -> Lineage:
    return Lineage(
        reads,
        ("seed", *ANSWERS, *more),
        ("held_out", *(("model",) if name == "base" else ())),
        _leaves(f"eval_{name}", failures=(f"answer-{name}",)),
    )


def _rl(name: str) -> Lineage:
    return Lineage(
        ("generate", "sft", "reward"),
        ("seed", name, *REWARD),
        ("rewards", "labeler", "constitution", "templates"),
        _leaves(checkpoint=POLICY, metrics=(f"{name}/",), failures=(name,)),
    )


LINEAGE: Mapping[str, Lineage] = {
    "generate": Lineage(
        (),
        ("seed", "generate"),
        ("model", "prompts", "helpful"),
        _leaves(
            "responses",
            "helpful",
            metrics=("prompts/", "generate/"),
            failures=("prompts", "generate", "helpful"),
        ),
    ),
    "revise": Lineage(
        ("generate",),
        ("seed", "revise"),
        ("critic", "constitution", "templates"),
        _leaves("transcripts", metrics=("revise/",), failures=("revise",)),
    ),
    "answer-base": _answers("base", ()),
    "select": Lineage(
        ("generate", "revise"),
        ("seed", "sft.rounds", "sft.helpful_share"),
        (),
        _leaves("demonstrations", metrics=("select/",)),
    ),
    "sft": Lineage(
        ("select",),
        ("seed", "sft"),
        ("model",),
        _leaves(checkpoint="sft", metrics=("sft/",), failures=("sft",)),
    ),
    "sample": Lineage(
        ("generate", "sft"),
        ("seed", "sample"),
        (),
        _leaves("comparisons", metrics=("sample/",), failures=("sample",)),
    ),
    "answer-sft": _answers("sft", ("sft",)),
    "label": Lineage(
        ("sample",),
        ("seed", "label"),
        ("labeler", "constitution", "templates"),
        _leaves("preferences", metrics=("label/",), failures=("label",)),
    ),
    "mix": Lineage(
        ("label",),
        ("seed", "human", "rounds.earlier_weight"),
        # Not the held-out prompts, although what resembles one stays out: to evaluate on others later does
        # not unmake a policy. A whole run mixes anew in any case.
        ("votes", "earlier"),
        _leaves("mixture", metrics=("mix/", "label/agreement"), failures=("mix",)),
    ),
    "dpo": Lineage(
        ("sft", "mix"),
        ("seed", "dpo"),
        (),
        _leaves(checkpoint=POLICY, metrics=("dpo/",), failures=("dpo",)),
    ),
    "reward": Lineage(
        ("sft", "mix"),
        ("seed", "reward_model"),
        (),
        _leaves("reward_validation", checkpoint="reward", metrics=("reward/",), failures=("reward",)),
    ),
    "ppo": _rl("ppo"),
    "grpo": _rl("grpo"),
    "rloo": _rl("rloo"),
    "best-sample": Lineage(
        ("generate", "sft", "reward"),
        ("seed", "best_of_n", *REWARD),
        ("rewards", "labeler", "constitution", "templates"),
        _leaves("best_of_n", metrics=("best-sample/",), failures=("best-sample",)),
    ),
    "best-select": Lineage(
        ("generate", "best-sample"),
        ("seed", "sft.helpful_share"),
        (),
        _leaves("best_demonstrations", metrics=("best-select/",)),
    ),
    "best-sft": Lineage(
        ("sft", "best-select"),
        ("seed", "sft"),
        (),
        _leaves(checkpoint=POLICY, metrics=("best-sft/",), failures=("best-sft",)),
    ),
    "answer-best-of-n": Lineage(
        ("sft", "reward"),
        ("seed", *ANSWERS, "best_of_n", *REWARD),
        ("held_out", "rewards", "labeler", "constitution", "templates"),
        _leaves("eval_best-of-n", failures=("answer-best-of-n",)),
    ),
    "answer-policy": _answers(POLICY, (POLICY,)),
    "grade": Lineage(
        (),
        ("evaluate.revisions",),
        ("judge", "templates", "held_out", "graders"),
        _leaves(metrics=("eval/pocket/", "eval/judge/", "revisions/"), failures=("grade-",)),
        uses=("answer-base", "answer-sft", "answer-policy", "answer-best-of-n", "revise"),
    ),
    "watch": Lineage(
        ("sft", POLICY),
        ("seed", "method", *ANSWERS, *REWARD),
        ("held_out", "rewards", "labeler", "constitution", "templates"),
        _leaves("overoptimisation", metrics=("watch/",), failures=("watch",)),
        uses=("reward",),
    ),
    "monitor": Lineage(
        (),
        ("monitor",),
        (),
        _leaves("monitors", "monitor_phrases", metrics=("monitor/",), failures=("monitor",)),
        uses=("grade", "label", "watch"),
    ),
}


def settings_of(config: RunConfig) -> dict[str, str]:
    """Every setting as ``section.field`` → its value in YAML's spelling."""
    return flattened(config.model_dump(mode="json"))


def shapes(setting: str, sections: tuple[str, ...]) -> bool:
    """Does a step with these ``settings`` depend on ``setting`` itself, and not on what it names?"""
    if setting.rsplit(".", 1)[-1] in _NO_WEIGHT or _within(setting, NAMES):
        return False
    return _within(setting, sections)


def own_settings(settings: Mapping[str, str], sections: tuple[str, ...]) -> dict[str, str]:
    """Those of ``settings`` that a step with these ``sections`` depends on, without the ``IMPLIED``."""
    return {
        name: value
        for name, value in settings.items()
        if shapes(name, sections) and IMPLIED.get(name) != value
    }


def _within(setting: str, sections: tuple[str, ...]) -> bool:
    return any(setting == section or setting.startswith(f"{section}.") for section in sections)


def experiment(config: RunConfig) -> dict[str, str]:
    """The settings that shape any output: what makes one run another experiment than its neighbour."""
    every = {section for lineage in LINEAGE.values() for section in lineage.settings}
    return {
        name: value
        for name, value in settings_of(config).items()
        if shapes(name, tuple(every)) or (_within(name, NAMES) and not _of_the_way(name))
    }


def _of_the_way(setting: str) -> bool:
    """Whether it says of a model where it is, and how it is reached and paid for: not what it answers."""
    return any(f".{field}." in f"{setting}." for field in _WAY)


_WAY = (
    *("base_url", "api_key_env", "headers", "query", "price", "batch", "patience", "max_concurrency"),
    *("requests_per_minute", "tokens_per_minute"),
    *(f"vllm.{argument}" for argument in PLACING),
)


def own_failures(failures: Iterable[Failure], steps: Iterable[str]) -> list[Failure]:
    """The quarantined items of ``steps``, in order."""
    exact = {name for step in steps if step in LINEAGE for name in LINEAGE[step].outputs.failures}
    exact |= {"suite "} if "suites" in steps else set()
    beginnings = tuple(name for name in exact if name[-1] in "- ")
    return [f for f in failures if f.stage in exact or f.stage.startswith(beginnings)]


def learners(method: str) -> tuple[str, ...]:
    """The steps of the other methods: what they made is not this run's. Best-of-n is a baseline too."""
    others = (step for name, steps in LEARN.items() if name != method for step in steps)
    return tuple(step for step in others if step != "answer-best-of-n")


def behind(steps: Iterable[str]) -> set[str]:
    """``steps`` and all that read what they make, in turn."""
    found = set(steps) & set(LINEAGE)
    makers = {name for name, lineage in LINEAGE.items() if lineage.outputs.checkpoint == POLICY}
    while True:
        names = found | ({POLICY} if found & makers else set())
        more = {n for n, lineage in LINEAGE.items() if names & {*lineage.reads, *lineage.uses}} - found
        if not more:
            return found
        found |= more
