"""Best-of-n: the choice and both formulas by hand and by enumeration, and the steps over a run folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import combinations, product
from math import log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.config.run_config import EvaluateConfig, ModelConfig, RunConfig
from cai.config.train_config import BestOfNConfig, RewardTerm, SFTConfig
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.data import tables
from cai.engines import models
from cai.engines.engine import Engine
from cai.engines.journaled import JournaledEngine
from cai.engines.models import Models
from cai.engines.scripted import ScriptedEngine
from cai.pipeline.steps.best import (
    candidate_from,
    candidate_row,
    step_best_answer,
    step_best_sample,
    step_best_select,
)
from cai.pipeline.steps.evaluate import step_answer
from cai.pipeline.steps.step import Run
from cai.rewards.best_of_n import demonstration, expected_best, kl_bound, pick, sizes
from cai.rewards.reward import Scored
from cai.run.folder import RunFolder
from cai.run.journal import Journal
from cai.run.progress import Silent
from cai.values.errors import CaiError, ItemError, UsageError
from cai.values.types import CompletionRequest, Demonstration, Message, Prompt, Response

PROMPT = Prompt("p", (Message("user", "Hello?"),), ("tag",))
NONE = Scored(None, "no idea")


def responses(n: int) -> list[Response]:
    return [Response(PROMPT, f"answer {index}", index=index) for index in range(n)]


def chosen(scored: Sequence[Scored]) -> list[int]:
    return [c.response.index for c in pick(responses(len(scored)), scored) if c.chosen]


@pytest.mark.parametrize(
    ("scored", "best"),
    [
        ([Scored(1.0), Scored(3.0), Scored(2.0)], 1),
        ([Scored(2.0), Scored(3.0), Scored(3.0)], 1),  # a tie: the first
        ([NONE, Scored(-9.0), NONE], 1),  # whatever is scored beats what is not
        ([NONE, Scored(-9.0), Scored(-8.0)], 2),
        ([Scored(0.0)], 0),
    ],
)
def test_the_best_is_chosen(scored: list[Scored], best: int) -> None:
    assert chosen(scored) == [best]
    assert [c.scored for c in pick(responses(len(scored)), scored)] == scored, "nothing is lost or moved"


def test_a_prompt_without_any_reward_is_an_item_error() -> None:
    with pytest.raises(ItemError, match="no response has a reward: 2 responses; the first: no idea"):
        pick(responses(2), [NONE, NONE])
    with pytest.raises(ItemError, match="there is none"):
        pick([], [])


def test_the_best_as_a_demonstration() -> None:
    (_, best) = pick(responses(2), [NONE, Scored(1.0)])
    assert demonstration(best) == Demonstration(PROMPT, "answer 1", "best")
    row = tables.demonstration_row(demonstration(best))
    assert tables.demonstration_from(row) == demonstration(best)


def test_kl_bound_by_hand() -> None:
    assert kl_bound(1) == 0.0
    assert kl_bound(2) == pytest.approx(0.6931471805599453 - 0.5)
    assert kl_bound(8) == pytest.approx(2.0794415416798357 - 0.875)


def exact_kl(weights: Sequence[float], rewards: Sequence[float], n: int) -> float:
    """KL(best-of-n ‖ model) in nats over a few responses, by going through every n-tuple of them."""
    best = [0.0] * len(weights)
    for tuple_ in product(range(len(weights)), repeat=n):
        p = 1.0
        for index in tuple_:
            p *= weights[index]
        best[max(tuple_, key=lambda index: rewards[index])] += p  # max keeps the first of equals
    return sum(b * log(b / w) for b, w in zip(best, weights, strict=True) if b > 0)


@given(
    st.lists(st.floats(0.05, 1.0), min_size=2, max_size=5),
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
    st.integers(1, 4),
)
def test_kl_bound_is_above_the_exact_divergence(weights: list[float], rewards: list[int], n: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    assert exact_kl(shares, rewards, n) <= kl_bound(n) + 1e-9


def test_kl_bound_is_reached_where_every_response_is_improbable_and_missed_for_two() -> None:
    """Uniform over M responses: P(best-of-n is the i-th) = (i/M)ⁿ − ((i−1)/M)ⁿ."""
    m, n = 20_000, 8
    best = [(i / m) ** n - ((i - 1) / m) ** n for i in range(1, m + 1)]
    divergence = sum(b * log(b * m) for b in best if b > 0)
    assert divergence == pytest.approx(kl_bound(n), abs=1e-3)
    # Beirami et al. 2024: with two responses of 1/2 each the divergence never exceeds log 2.
    assert exact_kl([0.5, 0.5], [0, 1], 8) < log(2) < kl_bound(8)


def test_expected_best_by_hand() -> None:
    # 1, 2, 4: the pairs' maxima are 2, 4, 4.
    assert expected_best([4.0, 1.0, 2.0], 1) == pytest.approx(7 / 3)
    assert expected_best([4.0, 1.0, 2.0], 2) == pytest.approx(10 / 3)
    assert expected_best([4.0, 1.0, 2.0], 3) == 4.0


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.integers(1, 8))
def test_expected_best_is_the_mean_over_all_subsets(rewards: list[float], k: int) -> None:
    k = min(k, len(rewards))
    subsets = [max(subset) for subset in combinations(rewards, k)]
    assert expected_best(rewards, k) == pytest.approx(sum(subsets) / len(subsets), abs=1e-9)


def test_expected_best_is_unbiased() -> None:
    """Over every sample of 4 from a loaded die its mean is the exact expectation of the best of k."""
    faces, shares = (0.0, 1.0, 5.0), (0.5, 0.3, 0.2)

    def expectation(draws: int, value: object) -> float:
        total = 0.0
        for sample in product(range(3), repeat=draws):
            p = 1.0
            for face in sample:
                p *= shares[face]
            total += p * value([faces[face] for face in sample])  # type: ignore[operator]
        return total

    for k in (1, 2, 3, 4):
        estimate = expectation(4, lambda sample, k=k: expected_best(sample, k))
        assert estimate == pytest.approx(expectation(k, max), abs=1e-12)


def test_expected_best_of_many_is_exact_enough_and_of_too_many_an_error() -> None:
    assert expected_best([float(i) for i in range(1, 1001)], 500) == pytest.approx(1001 * 500 / 501)
    for k in (0, 4):
        with pytest.raises(ValueError, match="cannot be estimated from 3"):
            expected_best([1.0, 2.0, 3.0], k)


def test_sizes() -> None:
    assert [sizes(n) for n in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


# --- The steps ----------------------------------------------------------------------------

REWARDS = """
def longer(prompts, responses):
    return [None if "?" in r else float(len(r)) for r in responses]
def nothing(prompts, responses):
    return [None] * len(responses)
"""
#: What the scripted SFT model says: four answers to each prompt, and to each held-out one.
ANSWERS = {
    "one": ["a", "bbb", "cc", "ddd"],
    "two": ["what?", "x", "why?", "y"],
    "three": ["who?", "how?", "when?", "where?"],
    "four": ["yes", "", "no", "maybe"],
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run folder with responses, whose SFT model is a scripted engine behind the real journal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "rewards.py").write_text(REWARDS)
    (tmp_path / "held-out.txt").write_text("two\nfour\nthree\n")
    config = RunConfig(
        prompts="unused.jsonl",
        reward=(RewardTerm(source="rewards.py:longer"), RewardTerm(source="rewards.py:nothing", weight=0.0)),
        best_of_n=BestOfNConfig(n=4, max_tokens=9, temperature=0.5),
        sft=SFTConfig(helpful_share=0.5),
        evaluate=EvaluateConfig(prompts="held-out.txt", temperature=0.7),
    )
    (tmp_path / "unused.jsonl").write_text('{"id": "1", "prompt": "one"}\n')
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with closing(Journal(folder.journal)) as journal:
        known = Models(journal)
        engine = ScriptedEngine(speaker())

        async def open() -> Engine:
            return engine

        name = models.trained(config, folder, "sft")
        known._engines[name] = JournaledEngine("sft", "scripted-sft", open, journal)
        prompts = [Prompt(name, (Message("user", name),)) for name in ANSWERS]
        folder.write_table("responses", (tables.response_row(Response(p, "r")) for p in prompts))
        helpful = [Response(Prompt(f"h{n}", (Message("user", "help"),)), f"h{n}") for n in range(9)]
        folder.write_table("helpful", map(tables.response_row, helpful))
        yield Run(config, folder, load_constitution("harmless"), Templates.load(), known, Silent())


def speaker() -> Callable[[CompletionRequest], str]:
    """Gives the answers to a prompt in the order in which its seeds first turn up."""
    turned_up: dict[str, list[int]] = {}

    def say(request: CompletionRequest) -> str:
        prompt = request.messages[-1].content
        seeds = turned_up.setdefault(f"{prompt} at {request.sampling.temperature}", [])
        if request.seed not in seeds:
            seeds.append(request.seed)
        return ANSWERS[prompt][seeds.index(request.seed)]

    return say


async def test_sampling_keeps_everything_and_chooses_one_of_each(run: Run) -> None:
    await step_best_sample(run)
    found = run.folder.read_table("best_of_n", candidate_from)
    assert [(c.response.prompt.id, c.response.text) for c in found if c.chosen] == [
        ("one", "bbb"),
        ("two", "x"),
        ("four", "maybe"),
    ]
    assert [c.response.text for c in found] == [*ANSWERS["one"], *ANSWERS["two"], "yes", "no", "maybe"]
    by_text = {c.response.text: c.scored for c in found}
    assert by_text["cc"].value == 2.0
    assert by_text["cc"].parts == (("rewards.py:longer", 2.0), ("rewards.py:nothing", None))
    assert by_text["what?"].value is None and "the function gave None" in by_text["what?"].reason
    failures = [(f.item, f.reason) for f in run.folder.read_failures() if f.stage == "best-sample"]
    assert sorted(failures) == [
        ("four/1", "empty response"),
        ("three", "no response has a reward"),
        *[(f"three/{index}", "no reward") for index in range(4)],
        ("two/0", "no reward"),
        ("two/2", "no reward"),
    ]
    assert [candidate_from(candidate_row(c)) for c in found] == found


async def test_what_sampling_measures(run: Run) -> None:
    await step_best_sample(run)
    metrics = run.folder.read_metrics()
    counts = {name: metrics[f"best-sample/{name}"].value for name in ("prompts", "responses", "unscored")}
    assert counts == {"prompts": 3, "responses": 11, "unscored": 2}
    # Means over prompts: one has 1, 3, 2, 3; two has 1, 1; four has 3, 2, 5.
    single = metrics["best-sample/best_of_1/reward"]
    assert single.value == pytest.approx((9 / 4 + 1 + 10 / 3) / 3) and single.n == 3
    assert single.low < single.value < single.high
    pairs = metrics["best-sample/best_of_2/reward"]
    assert pairs.value == pytest.approx((17 / 6 + 1 + 13 / 3) / 3)  # (3,2,3,3,3,3), (1), (3,5,5)
    assert metrics["best-sample/best_of_2/kl_bound"].value == pytest.approx(log(2) - 0.5)
    assert "best-sample/best_of_4/reward" not in metrics, "one prompt has four rewards: no interval"


async def test_running_again_asks_nothing_and_changes_nothing(run: Run) -> None:
    await step_best_sample(run)
    before = run.folder.table("best_of_n").read_bytes()
    engine = run.models.engine(models.trained(run.config, run.folder, "sft"))
    asked = engine.meter.asked
    await step_best_sample(run)
    assert engine.meter.asked == asked == 16
    assert run.folder.table("best_of_n").read_bytes() == before


async def test_mixing_adds_helpful_data(run: Run) -> None:
    await step_best_sample(run)
    await step_best_select(run)
    rows = run.folder.read_table("best_demonstrations", tables.demonstration_from)
    assert sorted((r.prompt.id, r.response) for r in rows if r.origin == "best") == [
        ("four", "maybe"),
        ("one", "bbb"),
        ("two", "x"),
    ]
    assert [r.origin for r in rows].count("helpful") == 3  # half of all
    assert run.folder.read_metrics()["best-select/helpful"].value == 3


async def test_answering_writes_what_grading_reads_and_starts_with_the_models_own_answer(run: Run) -> None:
    await step_answer(run, "sft")
    plain = run.folder.read_table("eval_sft", tables.response_from)
    await step_best_answer(run)
    best = run.folder.read_table("eval_best-of-n", tables.response_from)
    assert [(r.prompt.messages[-1].content, r.text, r.index) for r in best] == [
        ("two", "x", 1),
        ("four", "maybe", 3),
    ]
    assert [r.text for r in plain] == [ANSWERS[name][0] for name in ("two", "four", "three")]
    assert run.folder.read_failures()[-1].stage == "answer-best-of-n"


async def test_nothing_scored_is_an_error_that_says_why(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(
        "def longer(p, r): return [float('nan')] * len(r)\ndef nothing(p, r): 0"
    )
    with pytest.raises(CaiError, match="nothing must return a list"):
        await step_best_sample(run)
    (tmp_path / "rewards.py").write_text(
        "def longer(p, r): return [float('nan')] * len(r)\ndef nothing(p, r): return [0] * len(r)"
    )
    with pytest.raises(CaiError, match=r"best-sample: no prompt has a response with a reward.*gave nan"):
        await step_best_sample(run)
    assert run.folder.read_failures(), "what was quarantined is written before the error"


async def test_a_reward_that_is_not_there_costs_no_sampling(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text("def other(p, r): return [0] * len(r)\n")
    engine = run.models.engine(models.trained(run.config, run.folder, "sft"))
    with pytest.raises(UsageError, match="no function 'longer'"):
        await step_best_sample(run)
    assert engine.meter.asked == 0


@pytest.mark.slow
async def test_with_the_pocket_model_and_its_own_judgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three steps with real weights in the SFT model's place; the judge is the same model."""
    from cai.pocket import MODEL_PATH

    monkeypatch.chdir(tmp_path)
    pocket = ModelConfig(engine="transformers", dtype="float32", max_model_len=512)
    config = RunConfig(
        model=pocket,
        prompts="pocket:train",
        limit=6,
        reward=(RewardTerm(source="judge", principles=2),),
        best_of_n=BestOfNConfig(n=4, max_tokens=48),
        evaluate=EvaluateConfig(prompts="pocket:eval", limit=6, max_tokens=48),
    )
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(MODEL_PATH, folder.checkpoint("sft"))
    with closing(Journal(folder.journal)) as journal:
        parts = (load_constitution("harmless"), Templates.load(), Models(journal), Silent())
        run = Run(config, folder, *parts)
        from cai.data.promptsets import load_prompts

        own = [Response(prompt, "r") for prompt in load_prompts(config).train]
        folder.write_table("responses", map(tables.response_row, own))
        folder.write_table("helpful", [])
        try:
            await step_best_sample(run)
            await step_best_select(run)
            await step_best_answer(run)
        finally:
            await run.models.close()
    found = folder.read_table("best_of_n", candidate_from)
    assert len(found) == 24 and sum(c.chosen for c in found) == 6
    for candidate in found:
        rewards = [c.scored.value for c in found if c.response.prompt == candidate.response.prompt]
        assert candidate.scored.value is not None and 0 <= candidate.scored.value <= 1
        assert not candidate.chosen or candidate.scored.value == max(r for r in rewards if r is not None)
    curve = [folder.read_metrics()[f"best-sample/best_of_{k}/reward"].value for k in (1, 2, 4)]
    assert curve == sorted(curve) and curve[0] < curve[-1]
    assert len(folder.read_table("eval_best-of-n", tables.response_from)) == 6
    assert len(folder.read_table("best_demonstrations", tables.demonstration_from)) == 6
