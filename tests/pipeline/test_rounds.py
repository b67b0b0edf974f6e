"""Rounds: when to stop, and what a later round is made of. Whole runs with rounds: tests/test_run.py."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
import typer

from cai.cli import walk
from cai.cli.summary import run_summary
from cai.config.run_config import RoundsConfig, RunConfig
from cai.config.train_config import RewardTerm
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.data import tables
from cai.data.tables import response_row
from cai.engines.models import Models
from cai.pipeline.order import STEPS, steps_of
from cai.pipeline.rounds import Round, forget, of_round, read, record, stop_reason
from cai.pipeline.staleness import drop
from cai.pipeline.steps.mix import step_mix
from cai.pipeline.steps.step import Run
from cai.run.folder import RunFolder
from cai.run.journal import Journal
from cai.run.origin import Origins, Outputs, read_origins, record_made, write_origins
from cai.run.progress import Silent
from cai.values.types import Comparison, Failure, Message, Preference, Prompt, Response, Score, Source


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


def labels(name: str, p: float) -> list[Preference]:
    """Two labels of a round, and one that is unscored."""
    prompts = [Prompt(f"{name}{i}", (Message("user", f"Question {i} of {name}?"),)) for i in range(3)]
    values = (p, 1.0 - p, None)
    return [
        Preference(
            Comparison(f"{prompt.id}/0", prompt, "Yes.", "No."),
            value,
            Source("ai", "tiny"),
            (),
            None if value is not None else "unreadable",
        )
        for prompt, value in zip(prompts, values, strict=True)
    ]


@pytest.mark.parametrize("weight", [0.5, 0.0])
async def test_pairs_of_earlier_rounds_are_learned_at_a_weight_that_falls_with_their_age(
    weight: float, tmp_path: Path
) -> None:
    folders = [RunFolder(tmp_path / name) for name in "abc"]
    for folder in folders:
        folder.write_table("preferences", map(tables.preference_row, labels(folder.path.name, 0.8)))
    config = RunConfig.model_validate(
        {"prompts": "pocket:train", "rounds": {"earlier_weight": weight}, "human": {"near_duplicates": None}}
    )
    templates = Templates.load(None)
    *earlier, last = folders
    with closing(Journal(last.journal)) as journal:
        constitution = load_constitution("harmless", templates)
        run = Run(config, last, constitution, templates, Models(journal), Silent(), tuple(earlier))
        await step_mix(run)
    mixture = last.read_table("mixture", tables.preference_from)
    expected = {"c": 1.0, "b": 0.5, "a": 0.25} if weight else {"c": 1.0}
    assert {(p.comparison.id, p.p, p.weight) for p in mixture} == {
        (f"{name}{i}/0", p, w) for name, w in expected.items() for i, p in ((0, 0.8), (1, 1.0 - 0.8))
    }
    counts = {key: score.value for key, score in last.read_metrics().items()}
    assert counts == {"mix/tiny/taken": 2 * len(expected), "mix/tiny/no verdict": len(expected)}


def two_rounds(home: Path) -> tuple[RunFolder, RunFolder]:
    """The folders of two rounds, each with a figure and the second with a quarantined item."""
    folders = RunFolder(home / "run"), RunFolder(home / "run" / "rounds" / "2")
    for number, folder in enumerate(folders, 1):
        folder.path.mkdir(parents=True)
        score = Score(0.1 * number, 0.0, 1.0, 10)
        folder.record_metrics({"eval/pocket/harmful/policy": score}, drop="eval/")
    folders[1].record_failures({"label"}, [Failure("label", "p1", "unreadable")])
    record(folders, [a_round(1, 0.1), a_round(2, 0.2)], "enough")
    return folders


def test_what_is_quarantined_in_a_later_round_is_told_and_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two_rounds(tmp_path)
    monkeypatch.chdir(tmp_path)  # as it was written elsewhere: the record holds wherever it is read from
    assert first.rounds() == (first, second)
    assert second.rounds() == (second,)
    with pytest.raises(typer.Exit) as ended:
        walk.finish(lambda progress: first.rounds(), first.path, ["label"], json=False, quiet=True)
    assert ended.value.exit_code == 3
    said = capsys.readouterr().out
    assert "1 quarantined (failures.jsonl of each round)" in said
    assert "1 × label: unreadable" in said
    assert f"newest policy: {second.path}/checkpoints/policy" in said
    assert "stopped early: enough" in said


def test_a_single_round_leaves_no_word_of_earlier_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = two_rounds(tmp_path)
    assert "rounds/2/pocket/harmful/policy" in first.read_metrics()
    forget(first)
    forget(first)  # and it is no fault if there were none
    assert set(first.read_metrics()) == {"eval/pocket/harmful/policy"}
    assert first.rounds() == (first,) and first.read_failures() == []
    run_summary.show(first)
    said = capsys.readouterr().out
    assert "newest policy" not in said and "quarantined" not in said


def test_a_change_in_one_round_leaves_no_figure_of_those_behind_it(tmp_path: Path) -> None:
    """Stopped before round 2 begins, which may be hours later."""
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run" / "rounds" / "2")
    for folder in (first, second):
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.record_metrics({"dpo/loss": Score(0.5, 0.4, 0.6, 8)}, drop="dpo/")
        outputs = Outputs(checkpoint="policy", metrics=("dpo/",))
        record_made(folder, "dpo", {"dpo.beta": "0.1"}, [], outputs)
    first.write_text("rounds.json", json.dumps({"rounds": [".", "rounds/2"], "stopped": None}))
    before = read_origins(first)
    drop(first, Origins({"dpo": {"dpo.beta": "0.5"}}, before.made))
    assert first.rounds() == (first,)
    assert second.read_metrics() == {}
    found = read_origins(second)
    assert found.stale == {"dpo"}
    assert found.reasons(["dpo"]) == ["the round before changed"]
    write_origins(second, Origins(before.wanted, found.made))  # as the next run of round 2 writes it
    assert read_origins(second).stale == frozenset()
