"""From the configuration's reward terms to one ``Reward``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cai.config.train_config import RewardTerm
from cai.constitution.load import Constitution
from cai.constitution.templates import Templates
from cai.engines.engine import IN_PROCESS, Engine
from cai.rewards.combine import CombinedReward, Weighted
from cai.rewards.direct_judge import JudgeReward
from cai.rewards.function import FunctionReward
from cai.rewards.reward import Reward
from cai.stages.judge_reading import Judging
from cai.values.errors import UsageError
from cai.values.words import did_you_mean

KNOWN = ("model", "judge")


@dataclass(frozen=True, slots=True)
class RewardContext:
    """What a run's rewards are made of.

    ``reward_model``: the run's ``checkpoints/reward``. ``labeler`` is called only when a judge is asked
    for, because to name an engine means to hash its model's files. ``max_concurrency``: the labeler's;
    ``how`` its answers are read.
    """

    reward_model: Path
    labeler: Callable[[], Engine]
    templates: Templates
    constitution: Constitution
    seed: int
    max_concurrency: int = IN_PROCESS
    how: Judging = field(default_factory=Judging)


def open_reward(terms: Sequence[RewardTerm], context: RewardContext) -> Reward:
    """The reward that ``terms`` add up to; a single one of weight 1 is that reward itself.

    Raises:
        UsageError: no part has a weight, a source is unknown, or the run's reward model is not trained.
        FileError: a function's file cannot be loaded.
    """
    return prepare_reward(terms, context)()


def prepare_reward(terms: Sequence[RewardTerm], context: RewardContext) -> Callable[[], Reward]:
    """Find every mistake in ``terms`` now, and load models only when the result is called.

    For a stage that samples first: a misspelt name must not show after an hour, and the reward model must
    not lie in memory beside the sampler. Raises as ``open_reward``.
    """
    if not any(term.weight for term in terms):
        raise UsageError("reward: every weight is 0, so nothing would be learned; give one part a weight")
    openers = [(_opener(term, context), term.weight) for term in terms]

    def opened() -> Reward:
        parts = tuple(Weighted(opener(), weight) for opener, weight in openers)
        return parts[0].reward if len(parts) == 1 and parts[0].weight == 1 else CombinedReward(parts)

    return opened


def _opener(term: RewardTerm, context: RewardContext) -> Callable[[], Reward]:
    source = term.source
    if source == "model":
        if not (context.reward_model / "config.json").is_file():
            run = context.reward_model.parent.parent
            raise UsageError(
                f"reward.source: model, but {context.reward_model} holds no reward model yet; "
                f"run 'cai train reward {run}' first"
            )
        return lambda: _model(context.reward_model)
    if source == "judge":
        return lambda: _judge(term.principles, context)
    return _named(source)


def check_sources(terms: Sequence[RewardTerm]) -> None:
    """Find the mistakes that show before the run's own reward model is trained. Raises as ``open_reward``."""
    for term in terms:
        if term.source not in KNOWN:
            _named(term.source)


def _named(source: str) -> Callable[[], Reward]:
    """A reward from outside the run: a folder, or a function in a file."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UsageError(f"reward.source: '{source}' is a folder without a model (no config.json in it)")
        return lambda: _model(folder)
    if ":" in source:
        function = FunctionReward.load(source)
        return lambda: function
    raise UsageError(_unknown(source, folder))


def _model(folder: Path) -> Reward:
    from cai.rewards.model import RewardModel

    return RewardModel(folder)


def _judge(principles: int, context: RewardContext) -> Reward:
    return JudgeReward(
        context.labeler(),
        context.templates,
        context.constitution,
        principles,
        context.seed,
        context.max_concurrency,
        context.how,
    )


def _unknown(source: str, path: Path) -> str:
    if path.is_file():
        return f"reward.source: '{source}' is a file; name the function in it as well: {source}:function"
    neighbours = list(path.parent.iterdir()) if path.parent.is_dir() else []
    folders = {other.name: str(other) for other in neighbours if other.is_dir()}
    near = did_you_mean(source, [*KNOWN, *folders.values()])
    return (
        f"reward.source: '{source}' is neither 'model', 'judge', a reward model's folder "
        f"nor 'file.py:function'{near}"
    )
