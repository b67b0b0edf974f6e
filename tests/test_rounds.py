"""Rounds: when to stop, and what a later round is made of. Whole runs with rounds: tests/test_run.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.config import RoundsConfig, RunConfig
from cai.pipeline import STEPS, steps_of
from cai.rounds import Round, of_round, read, stop_reason
from cai.runfolder import RunFolder
from cai.tables import response_row
from cai.trainconfig import RewardTerm
from cai.types import Message, Prompt, Response, Score


def a_round(
    number: int, harmful: float, refused: float = 0.0, length: float = 50.0, kl: float = 1.0
) -> Round:
    return Round(number, harmful, refused, length, 50.0, kl)


def test_rounds_go_on_while_harm_falls() -> None:
    rounds = [a_round(1, 0.3), a_round(2, 0.2), a_round(3, 0.1)]
    assert all(stop_reason(RoundsConfig(), rounds[:n]) is None for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([a_round(1, 0.1), a_round(2, 0.1)], "harmful answers have not become fewer since round 1"),
        ([a_round(1, 0.3, refused=0.2)], "0.200 of the benign requests are refused"),
        ([a_round(1, 0.3), a_round(2, 0.2, length=101.0)], "2.02 times as long as at first"),
        ([a_round(1, 0.3, length=24.0)], "0.48 times as long as at first"),
        ([a_round(1, 0.3, kl=3.0), a_round(2, 0.2, kl=3.0)], "KL add up to 6.00 nats, rounds.max_kl is 5"),
    ],
)
def test_reasons_to_stop(rounds: list[Round], expected: str) -> None:
    reason = stop_reason(RoundsConfig(max_kl=5.0), rounds)
    assert reason is not None and expected in reason


def test_patience() -> None:
    rounds = [a_round(1, 0.1), a_round(2, 0.2), a_round(3, 0.15)]
    assert stop_reason(RoundsConfig(patience=3), rounds) is None
    assert stop_reason(RoundsConfig(patience=None), rounds) is None
    assert stop_reason(RoundsConfig(patience=2), rounds) is not None


def test_a_later_round_changes_the_policy_alone(tmp_path: Path) -> None:
    config = RunConfig(seed=7)
    assert of_round(config, 1, []) is config
    second = of_round(config, 2, [RunFolder(tmp_path)])
    assert second.model.name == str(tmp_path / "checkpoints" / "policy")
    assert second.critic == second.labeler == config.model
    assert second.seed != config.seed
    assert second.model_copy(update={"model": 0, "critic": 0, "labeler": 0, "seed": 0}) == config.model_copy(
        update={"model": 0, "critic": 0, "labeler": 0, "seed": 0}
    )


@pytest.mark.parametrize("method", ["dpo", "ppo", "grpo", "rloo", "best-of-n"])
def test_every_method_is_made_of_known_steps(method: str) -> None:
    config = RunConfig.model_validate({"method": method})
    steps = steps_of(config)
    assert set(steps) <= set(STEPS)
    assert len(set(steps)) == len(steps)
    assert ("reward" in steps) == (method != "dpo")
    judged = config.model_copy(update={"reward": (RewardTerm(source="judge"),)})
    assert ("label" in steps_of(judged)) == (method == "dpo")  # a judge needs no labels of pairs


def test_a_round_reads_the_kl_of_its_own_method(tmp_path: Path) -> None:
    """A folder may hold what another method left before."""
    folder = RunFolder(tmp_path)
    keys = {"dpo/kl": 9.0, "ppo/kl": 0.5, "eval/pocket/harmful/policy": 0.25}
    folder.record_metrics({key: Score(v, v, v, 10) for key, v in keys.items()}, drop="eval/")
    answer = Response(Prompt("p", (Message("user", "?"),)), "four")
    for stage in ("base", "policy"):
        folder.write_table(f"eval_{stage}", [response_row(answer)])
    found = read(1, folder, "ppo")
    assert (found.kl, found.harmful, found.length, found.refused_benign) == (0.5, 0.25, 4.0, None)
    assert read(1, folder, "best-of-n").kl is None
