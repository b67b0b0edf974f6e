"""Sums of rewards by hand, what a missing part does, and how terms become a reward."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cai.config.train_config import RewardTerm
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.engines.engine import Engine
from cai.engines.scripted import ScriptedEngine
from cai.rewards.combine import CombinedReward, Weighted
from cai.rewards.direct_judge import JudgeReward
from cai.rewards.function import FunctionReward
from cai.rewards.reward import Reward, Scored
from cai.rewards.terms import RewardContext, open_reward, prepare_reward
from cai.values.errors import CaiError, UsageError
from cai.values.types import Message, Prompt, Response

PROMPT = Prompt("p", (Message("user", "Hello?"),))
TWO = [Response(PROMPT, text, index=n) for n, text in enumerate(("a", "bb"))]


@dataclass
class Fixed:
    """A reward that says what it was told to, once all of ``together`` have been asked."""

    name: str
    values: Sequence[Scored]
    error: CaiError | None = None
    together: asyncio.Barrier | None = None
    fingerprint: str = field(default="")

    def __post_init__(self) -> None:
        self.fingerprint = self.fingerprint or self.name

    async def score(self, responses: Sequence[Response]) -> list[Scored]:
        if self.together is not None:
            await self.together.wait()
        if self.error is not None:
            raise self.error
        return list(self.values)


def fixed(name: str, *values: float | None) -> Fixed:
    return Fixed(name, [Scored(v) if v is not None else Scored(None, "no idea") for v in values])


def combined(*parts: tuple[Fixed, float]) -> CombinedReward:
    return CombinedReward(tuple(Weighted(reward, weight) for reward, weight in parts))


async def test_the_sum_by_hand() -> None:
    reward = combined((fixed("model", 2.0, -1.0), 1.0), (fixed("judge", 0.25, 0.5), -4.0))
    first, second = await reward.score(TWO)
    assert (first.value, second.value) == (2.0 - 4 * 0.25, -1.0 - 4 * 0.5)
    assert first.parts == (("model", 2.0), ("judge", 0.25)), "their own values, before the weight"
    assert reward.name == "1·model + -4·judge"
    assert await combined((fixed("model"), 1.0), (fixed("judge"), 1.0)).score([]) == []


async def test_a_missing_part_leaves_it_unscored_unless_its_weight_is_zero() -> None:
    judge, watch = fixed("judge", None, 0.5), fixed("gold", 7.0, None)
    first, second = await combined((fixed("model", 1.0, 2.0), 1.0), (judge, 2.0), (watch, 0.0)).score(TWO)
    assert first.value is None and first.reason == "judge: no idea"
    assert first.parts == (("model", 1.0), ("judge", None), ("gold", 7.0))
    assert second.value == 3.0
    assert second.parts == (("model", 2.0), ("judge", 0.5), ("gold", None))


async def test_every_missing_part_is_named_and_equal_names_are_told_apart() -> None:
    reward = combined((fixed("judge", None), 1.0), (fixed("judge", None), 1.0))
    (scored,) = await reward.score(TWO[:1])
    assert scored.reason == "judge: no idea; judge (2): no idea"
    assert [name for name, _ in scored.parts] == ["judge", "judge (2)"]


async def test_a_sum_that_overflows_is_unscored() -> None:
    (scored,) = await combined((fixed("a", 1e308), 10.0), (fixed("b", 0.0), 1.0)).score(TWO[:1])
    assert scored.value is None and scored.reason == "the weighted sum is inf"


async def test_parts_are_scored_at_the_same_time() -> None:
    barrier = asyncio.Barrier(2)
    parts = [Fixed(name, [Scored(1.0)], together=barrier) for name in "ab"]
    async with asyncio.timeout(60):
        (scored,) = await combined((parts[0], 1.0), (parts[1], 1.0)).score(TWO[:1])
    assert scored.value == 2.0


async def test_a_broken_part_raises_its_own_error() -> None:
    broken = Fixed("b", [], error=CaiError("it broke"))
    waiting = Fixed("c", [], together=asyncio.Barrier(2))  # would wait for ever were it not cancelled
    async with asyncio.timeout(60):
        with pytest.raises(CaiError, match=r"^it broke$"):
            await combined((waiting, 1.0), (broken, 1.0)).score(TWO)


def test_fingerprint_has_weights_and_parts() -> None:
    a, b = fixed("a"), fixed("b")
    prints = {combined((a, 1.0), (b, w)).fingerprint for w in (1.0, 2.0)}
    assert len(prints | {combined((b, 1.0), (a, 1.0)).fingerprint, combined((a, 1.0)).fingerprint}) == 4


# --- From the configuration ---------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "rewards.py").write_text("def short(p, r): return [-len(x) for x in r]\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def context(folder: Path) -> RewardContext:
    def labeler() -> Engine:
        return ScriptedEngine(choices=lambda request: (0.0, 0.0))

    constitution = load_constitution("harmless")
    return RewardContext(folder / "runs/r/checkpoints/reward", labeler, Templates.load(), constitution, 3, 17)


def opened(folder: Path, *terms: RewardTerm) -> Reward:
    return open_reward(terms, context(folder))


async def test_judge_and_function_from_terms(folder: Path) -> None:
    judge = opened(folder, RewardTerm(source="judge", principles=2))
    assert isinstance(judge, JudgeReward)
    assert (judge.principles, judge.seed, judge.bound) == (2, 3, 17)
    assert isinstance(opened(folder, RewardTerm(source="rewards.py:short")), FunctionReward)
    both = opened(folder, RewardTerm(source="judge"), RewardTerm(source="rewards.py:short", weight=0.1))
    scored = await both.score(TWO)
    assert [s.value for s in scored] == pytest.approx([0.5 - 0.1, 0.5 - 0.2])
    halved = opened(folder, RewardTerm(source="rewards.py:short", weight=0.5))
    assert [s.value for s in await halved.score(TWO)] == [-0.5, -1.0]


def test_the_labeler_is_asked_for_only_by_a_judge(folder: Path) -> None:
    def labeler() -> Engine:
        raise AssertionError("nobody judges here")

    base = context(folder)
    quiet = RewardContext(base.reward_model, labeler, base.templates, base.constitution, 0)
    open_reward([RewardTerm(source="rewards.py:short")], quiet)
    prepare_reward([RewardTerm(source="judge")], quiet)  # checked, and nothing opened yet


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("model", r"holds no reward model yet; run 'cai train reward .*runs/r' first"),
        ("judgge", "'judgge' is neither 'model', 'judge', a reward model's folder .*did you mean 'judge'"),
        ("emty", "did you mean 'empty'"),
        ("empty", "a folder without a model"),
        ("rewards.py", "name the function in it as well: rewards.py:function"),
        ("rewards.py:shrt", "did you mean 'short'"),
        ("nothing at all like it", "nor 'file.py:function'$"),
    ],
)
def test_a_source_that_is_none(folder: Path, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare_reward([RewardTerm(source=source)], context(folder))


def test_weights_that_are_all_zero(folder: Path) -> None:
    with pytest.raises(UsageError, match="every weight is 0"):
        opened(folder, RewardTerm(source="judge", weight=0.0))
