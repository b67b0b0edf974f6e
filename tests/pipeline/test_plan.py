"""The plan of a dry run: what is asked is counted by walking the stages themselves."""

import sqlite3
import time
from pathlib import Path

import pytest

from cai.cli.summary.plan_summary import show_plan
from cai.config.run_config import RunConfig
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.data.promptsets import load_prompts
from cai.pipeline.plan import Demand, demands, filler
from cai.run.pace import paces

SERVER = {"name": "critic-on-a-server", "engine": "openai", "base_url": "http://127.0.0.1:9/v1"}


async def plan(**settings: object) -> dict[str, Demand]:
    base = {"model": {"name": "pocket", "engine": "transformers"}, "limit": 40, "evaluate": {"limit": 10}}
    config = RunConfig.model_validate({**base, "prompts": "pocket:train", **settings})
    templates = Templates.load(None)
    constitution = load_constitution(config.constitution, templates)
    found = await demands(config, constitution, templates, load_prompts(config))
    return {demand.step: demand for demand in found}


async def test_calls_follow_the_settings() -> None:
    found = await plan(revise={"rounds": 3}, sample={"n": 3}, label={"principles": 2})
    assert found["revise"].calls == 40 * 3 * 2
    assert found["sample"].calls == 40 * 3
    assert found["label"].calls == 40 * 3 * 2 * 2  # pairs of three, principles, orders
    assert (await plan(revise={"rounds": 3, "critique": False}))["revise"].calls == 40 * 3


async def test_tokens_follow_the_templates_and_the_examples() -> None:
    short, long = await plan(label={"few_shot": 0}), await plan(label={"few_shot": 2})
    assert long["label"].read > 1.1 * short["label"].read
    assert short["label"].written == short["label"].calls
    found = await plan(revise={"max_tokens": 100})
    assert found["revise"].written == found["revise"].calls * 100


async def test_a_judge_s_reward_is_counted() -> None:
    reward = [{"source": "judge", "principles": 2}]
    found = await plan(method="ppo", reward=reward, ppo={"steps": 5, "prompts": 8})
    assert found["ppo"].calls == 40 and found["reward by the judge"].calls == 80
    assert "reward by the judge" not in await plan(method="ppo")


async def test_a_labeler_that_never_gives_log_probabilities_is_asked_for_verdicts() -> None:
    hosted = {"name": "m", "engine": "anthropic"}
    for prompts in ("pocket:eval", None):
        found = await plan(labeler=hosted, label={"samples": 5}, evaluate={"prompts": prompts, "limit": 10})
        assert found["label"].calls == 40 * 2 * 5
        assert ("grade" in found) == (prompts is None)
    assert found["grade"].calls == 3 * 10 * 5 * 5


async def test_a_price_is_the_model_s_own() -> None:
    priced = {**SERVER, "price": {"input": 2.0, "output": 10.0}}
    found = (await plan(critic=priced, labeler="pocket"))["revise"]
    assert found.usd == pytest.approx(found.read * 2e-6 + found.written * 1e-5)
    assert (await plan(critic=SERVER))["revise"].usd is None
    assert (await plan())["revise"].usd == 0.0


def test_it_is_shown_with_rounds_and_the_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = RunConfig.model_validate(
        {
            "model": {"name": "pocket", "engine": "transformers"},
            "prompts": "pocket:train",
            "evaluate": {"prompts": "pocket:eval"},
            "critic": {**SERVER, "price": {"input": 1000.0, "output": 1000.0}},
            "labeler": {**SERVER, "name": "unpriced"},
            "limit": 20,
            "rounds": {"count": 3},
            "budget": {"usd": 1.0},
        }
    )
    show_plan(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert "cost at most in 3 rounds:" in said and "US dollars  critic-on-a-server" in said
    assert "the price of unpriced is not known" in said
    assert "budget.usd is 1: the run stops when it is reached" in said


def test_the_pace_leaves_pauses_out(tmp_path: Path) -> None:
    path, start = tmp_path / "journal.sqlite", time.time()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE answers (stage TEXT, created REAL)")
        times = [*(start + n for n in range(30)), *(start + 90_000 + n for n in range(30))]
        db.executemany("INSERT INTO answers VALUES ('revise', ?)", [(t,) for t in times])
        db.execute("INSERT INTO answers VALUES ('label', ?)", (start,))
    found = paces(path)
    assert found["revise"].seconds_for(60) == pytest.approx(58)
    assert found["label"].seconds_for(60) is None
    assert paces(tmp_path / "none.sqlite") == {}
    path.write_bytes(b"junk")
    assert paces(path) == {}


def test_a_filler_says_something_at_the_length_that_is_asked() -> None:
    assert len(filler(100)) in (399, 400) and len(filler(1)) == 4
    assert filler(50, "text0") != filler(50, "text1")
