"""What --dry-run says of suites whose judge is asked for verdicts: each of them is a request."""

from __future__ import annotations

from typing import Any

import pytest

from cai.config.run_config import RunConfig
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.evaluation.catalogue import wanted
from cai.evaluation.estimate import Calls, calls

HOSTED = {"name": "m", "engine": "anthropic"}
HERE = {"name": "pocket", "engine": "transformers"}


def counted(suite: str, **settings: Any) -> Calls:
    config = RunConfig.model_validate({"model": HERE, **settings})
    templates = Templates.load()
    found = calls(wanted(suite), config, load_constitution("harmless", templates), templates, 10)
    assert found is not None
    return found


@pytest.mark.parametrize("suite", ["winrate", "arena", "questions", "refusal", "harmfulness", "sycophancy"])
def test_a_judge_that_is_asked_for_verdicts_is_asked_so_many_times(suite: str) -> None:
    plain = counted(suite)
    for settings in (
        {"evaluate": {"judge": HOSTED}},
        {"label": {"read": "samples"}},
        {"evaluate": {"judge": HERE | {"thinking": 64}}},
    ):
        sampled = counted(suite, **settings)
        assert sampled.judge == 8 * plain.judge
        assert sampled.models == plain.models
    five = counted(suite, evaluate={"judge": HOSTED}, label={"samples": 5})
    assert five.judge == 5 * plain.judge


def test_a_judge_that_must_give_log_probabilities_is_asked_once() -> None:
    hosted = {"judge": HOSTED}
    assert counted("questions", evaluate=hosted, label={"read": "logprobs"}) == counted("questions")


def test_models_that_label_pairs_themselves_are_asked_for_verdicts(tmp_path: Any) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text('{"prompt": "Hi?", "chosen": "Good.", "rejected": "Bad."}\n' * 3)
    for suite in ("preferences", "hhh"):
        plain = counted(f"{suite}={data}")
        assert counted(f"{suite}={data}", label={"read": "samples"}).models == 8 * plain.models
        with_hosted = counted(f"{suite}={data}", evaluate={"models": {"other": HOSTED}})
        assert with_hosted.models == 8 * plain.models * 4 // 3  # one model more, and at most so many of each
