"""What suites share: who is measured, what is recorded and asked again. And win rates, and the arena."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_run import cai

from cai.config.run_config import EvaluateConfig, LabelConfig, ModelConfig, RunConfig
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.engines.scripted import ScriptedEngine
from cai.evaluation.bench import Bench, Contestant, Findings
from cai.evaluation.catalogue import SUITES, wanted
from cai.evaluation.suites import arena, winrate
from cai.evaluation.targets import read_targets
from cai.pipeline.steps.suites import RECORD, contestants, forget_stale
from cai.run.folder import RunFolder
from cai.run.runner import Results, run_items
from cai.values.errors import UsageError
from cai.values.types import ChoiceRequest, Message, Prompt

PROMPTS = tuple(Prompt(f"p{i}", (Message("user", f"Question {i}?"),)) for i in range(12))


async def each(
    label: str, engine: Any, items: Sequence[tuple[str, Any]], work: Callable[[Any], Awaitable[Any]]
) -> Results[Any]:
    return await run_items(label, items, work)


def bench(models: dict[str, ScriptedEngine], judge: ScriptedEngine, **changes: Any) -> Bench:
    """A bench of scripted engines; the first model is the baseline."""
    engines: dict[str, Any] = {**models, "judge": judge}
    templates = Templates.load()
    values: dict[str, Any] = {
        "contestants": tuple(Contestant(name, ModelConfig(name=name)) for name in models),
        "baseline": next(iter(models)),
        "judge": ModelConfig(name="judge"),
        "held_out": lambda: PROMPTS,
        "data": None,
        "config": EvaluateConfig(axes={"harmless": "harmless"}),
        "label": LabelConfig(few_shot=0),
        "constitution": load_constitution("harmless", templates),
        "templates": templates,
        "seed": 0,
        "engine": lambda model: engines[model.name],
        "each": each,
        "say": lambda text: None,
    }
    return Bench(**{**values, **changes})


def prefers(word: str) -> ScriptedEngine:
    """A judge that takes the answer with ``word`` in it, wherever it stands."""

    def choose(request: ChoiceRequest) -> tuple[float, float]:
        first = request.messages[-1].content.split("(A)")[1].split("(B)")[0]
        return (-0.01, -5.0) if word in first else (-5.0, -0.01)

    return ScriptedEngine(choices=choose)


def saying(text: str) -> ScriptedEngine:
    return ScriptedEngine(lambda request: text)


def measured(suite: Any, given: Bench) -> Findings:
    findings: Findings = asyncio.run(suite.measure(given))
    return findings


def test_the_model_with_the_better_answers_wins() -> None:
    found = measured(winrate, bench({"base": saying("bad"), "new": saying("good")}, prefers("good")))
    score = found.scores["harmless/new"]
    assert score.value == 1.0 and score.n == 12
    assert found.scores["harmless_flips/new"].value == 0.0
    assert 0.99 < found.scores["harmless_soft/new"].value < 1.0
    assert {row["first"] for row in found.rows} == {"new"} and len(found.rows) == 12


def test_a_judge_of_positions_gives_ties_and_flips_always() -> None:
    first = ScriptedEngine(choices=lambda request: (-0.01, -5.0))
    found = measured(winrate, bench({"base": saying("bad"), "new": saying("good")}, first))
    assert found.scores["harmless/new"].value == 0.5
    assert found.scores["harmless_flips/new"].value == 1.0
    assert found.scores["harmless_soft/new"].value == pytest.approx(0.5)


def test_identical_models_tie_and_the_judge_is_not_asked() -> None:
    judge = prefers("good")
    found = measured(winrate, bench({"base": saying("same"), "new": saying("same")}, judge))
    assert found.scores["harmless/new"].value == 0.5
    assert "harmless_flips/new" not in found.scores  # of nothing there is no figure
    assert judge.calls == []


def test_a_model_that_answers_nothing_has_no_figure() -> None:
    found = measured(winrate, bench({"base": saying("bad"), "mute": saying("")}, prefers("good")))
    assert found.scores == {}
    assert len(found.failures) == 12
    assert found.failures[0].item == "mute/p0" and found.failures[0].reason == "empty response"


def test_a_judge_without_a_readable_verdict_has_no_figure() -> None:
    from cai.values.errors import ItemError

    judge = ScriptedEngine(choices=lambda request: ItemError("unreadable judgement"))
    found = measured(winrate, bench({"base": saying("bad"), "new": saying("good")}, judge))
    assert found.scores == {} and len(found.failures) == 12
    assert {failure.reason for failure in found.failures} == {"unreadable judgement"}


def test_one_prompt_gives_the_widest_interval() -> None:
    given = bench(
        {"base": saying("bad"), "new": saying("good")}, prefers("good"), held_out=lambda: PROMPTS[:1]
    )
    score = measured(winrate, given).scores["harmless/new"]
    assert (score.low, score.high, score.n) == (0.0, 1.0, 1)


def test_ratings_follow_the_games() -> None:
    models = {"base": saying("bad"), "middle": saying("fair"), "best": saying("good")}

    def choose(request: ChoiceRequest) -> tuple[float, float]:
        shown = request.messages[-1].content.split("(A)")[1]
        rank = [
            next(i for i, w in enumerate(("bad", "fair", "good")) if w in s) for s in shown.split("(B)")[:2]
        ]
        return (-0.3, -1.4) if rank[0] > rank[1] else (-1.4, -0.3)

    found = measured(arena, bench(models, ScriptedEngine(choices=choose)))
    rating = {name: found.scores[f"harmless/{name}"].value for name in models}
    assert rating["base"] == pytest.approx(1000)
    assert rating["base"] < rating["middle"] < rating["best"]
    # A judge who says 0.75 (e^-0.3 : e^-1.4) in both orders has named a winner.
    assert found.scores["win_rate/best/base"].value == 1.0
    assert found.scores["win_rate/base/best"].value == 0.0
    assert found.rows[0]["p"] == pytest.approx(0.25, abs=2e-3) and found.rows[0]["win"] == 0.0


def test_prompts_of_the_user_s_own_replace_the_held_out_ones(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"prompt": "One?"}\n{"prompt": 7}\n{"prompt": "Two?"}\n')
    models = {"base": saying("bad"), "new": saying("good")}
    found = measured(winrate, bench(models, prefers("good"), data=str(tmp_path / "own.jsonl")))
    assert found.scores["harmless/new"].n == 2
    assert [failure.item for failure in found.failures] == ["row 2"]


def test_an_arena_and_a_win_rate_need_company() -> None:
    alone = bench({"base": saying("bad")}, prefers("good"))
    with pytest.raises(UsageError, match="needs two models"):
        measured(arena, alone)
    with pytest.raises(UsageError, match="compares models with base"):
        measured(winrate, alone)


def test_a_constitution_of_the_user_s_own_is_one_more_axis(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: own rules\nprinciples:\n  - The assistant is polite.\n")
    own = load_constitution(tmp_path / "own.yaml")
    given = bench({"base": saying("bad"), "new": saying("good")}, prefers("good"), constitution=own)
    assert "own-rules/new" in measured(winrate, given).scores


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("winrat", "did you mean 'winrate'"),
        ("nonsense-entirely", "there are winrate"),
        ("xstest", "needs data"),
    ],
)
def test_a_suite_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        wanted(text)


def test_a_file_that_is_not_there_is_refused_before_a_model_is_loaded() -> None:
    with pytest.raises(UsageError, match=r"there is no file nowhere\.csv"):
        wanted("xstest=nowhere.csv").check()
    wanted("xstest=org/name").check()  # a dataset's name


def test_every_suite_of_the_catalogue_can_be_measured() -> None:
    assert all(callable(suite.measure) for suite in SUITES.values())


def test_targets(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for stage in ("sft", "policy"):
            (tmp_path / name / "checkpoints" / stage).mkdir(parents=True)
            (tmp_path / name / "checkpoints" / stage / "config.json").write_text("{}")
        (tmp_path / name / "config.yaml").write_text("model: {name: pocket}\n")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    found = read_targets([one, two, f"{two}:sft", f"{two}:base", "org/a model"])
    assert found.home == tmp_path / "one"
    assert found.models == {
        "two-policy": f"{two}/checkpoints/policy",
        "two-sft": f"{two}/checkpoints/sft",
        "two-base": "pocket",
        "a-model": "org/a model",
    }
    assert read_targets(["pocket"]).home is None
    with pytest.raises(UsageError, match="two models would be called 'pocket'"):
        read_targets(["pocket", "elsewhere/pocket"])
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "policy")
    with pytest.raises(UsageError, match="has no policy checkpoint"):
        read_targets([one, two])


def test_figures_of_a_model_that_was_trained_anew_are_taken_back(tiny_model: Path, tmp_path: Path) -> None:
    from cai.values.types import Score

    folder = RunFolder(tmp_path)
    model = ModelConfig(name=str(tiny_model), engine="transformers")
    folder.record_metrics({"eval/arena/harmless/policy": Score(1, 1, 1, 1)}, drop="eval/arena/")
    folder.write_table("suite_arena", [{"p": 1.0}])
    folder.write_text(RECORD, json.dumps({"arena": {"models": {"policy": "another"}}}))
    forget_stale(folder, [Contestant("policy", model)])
    assert folder.read_metrics() == {}
    assert not folder.table("suite_arena").exists()
    assert json.loads((tmp_path / RECORD).read_text()) == {}


def test_a_run_s_own_models_and_those_that_are_named(tiny_model: Path, tmp_path: Path) -> None:
    class Given:
        folder = RunFolder(tmp_path)
        config = RunConfig.model_validate({"evaluate": {"models": {"other": str(tiny_model)}}})

    assert [c.name for c in contestants(Given())] == ["other"]  # type: ignore[arg-type]
    shutil.copytree(tiny_model, tmp_path / "checkpoints" / "sft")
    assert [c.name for c in contestants(Given())] == ["base", "sft", "other"]  # type: ignore[arg-type]


def asked(folder: Path) -> dict[str, int]:
    """Answers in the journal by verb: texts that models wrote, and log-probabilities."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        return dict(journal.execute("SELECT verb, COUNT(*) FROM answers GROUP BY verb").fetchall())


@pytest.mark.slow
def test_measured_from_the_command_line(finished: Path) -> None:
    """A finished run: suites over its models; asked once; the report shows them; settings stay."""
    home = finished.parent / "measured"
    shutil.copytree(finished, home)
    settings = (home / "run" / "config.yaml").read_bytes()
    command = ("eval", "run", "--suite", "winrate", "--suite", "arena", "--limit", "24")
    done = cai(*command, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "winrate, graded by pocket" in done.stdout and "harmless" in done.stdout
    metrics = RunFolder(home / "run").read_metrics()
    assert {"eval/winrate/harmless/policy", "eval/arena/helpful/sft"} <= set(metrics)
    assert metrics["eval/arena/harmless/base"].value == pytest.approx(1000)
    assert (home / "run" / "config.yaml").read_bytes() == settings
    before = asked(home / "run")
    again = cai(*command, cwd=home)
    assert again.stdout == done.stdout
    assert asked(home / "run") == before  # answered from the journal, all of it
    other = ("--judge", "pocket", "--set", "evaluate.judge.max_model_len=500")  # another judge to the journal
    assert cai(*command, *other, cwd=home).returncode == 0
    after = asked(home / "run")
    assert after["complete"] == before["complete"] and after["choose"] > before["choose"]
    shown = cai("report", "run", cwd=home)
    assert shown.returncode == 0, shown.stderr
    page = (home / "run" / "report.html").read_text()
    assert "win rates against the baseline" in page
    assert metrics["revisions/pocket/harmful/2"].value < metrics["revisions/pocket/harmful/0"].value
    assert "Responses after each revision" in page

    unknown = cai("eval", "run", "--suite", "arean", cwd=home)
    assert unknown.returncode == 2 and "did you mean 'arena'" in unknown.stderr
    none = cai("eval", "run", cwd=home)
    assert none.returncode == 2 and "arena" in none.stderr
    nowhere = cai("eval", "nowhere-at-all/x/y", "--suite", "arena", cwd=home)
    assert nowhere.returncode == 2 and "there is no folder" in nowhere.stderr


@pytest.mark.slow
def test_killed_it_goes_on_where_it_was(finished: Path) -> None:
    calm, killed = finished.parent / "calm", finished.parent / "killed"
    for home in (calm, killed):
        shutil.copytree(finished, home)
    command = ("eval", "run", "--suite", "questions", "--limit", "20", "--quiet")
    start = asked(killed / "run").get("choose", 0)
    process = subprocess.Popen([sys.executable, "-m", "cai", *command], cwd=killed, stdout=subprocess.DEVNULL)
    while asked(killed / "run").get("choose", 0) < start + 40 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL  # in the middle, not behind the end
    kept = asked(killed / "run")["choose"]
    assert kept >= start + 40
    done = [cai(*command, cwd=home) for home in (calm, killed)]
    assert [each.returncode for each in done] == [0, 0], done
    assert asked(killed / "run") == asked(calm / "run")  # everything once
    found = [RunFolder(home / "run").read_metrics() for home in (calm, killed)]
    keys = {key for key in found[0] if key.startswith("eval/questions/")}
    assert keys and keys == {key for key in found[1] if key.startswith("eval/questions/")}
    for key in keys:
        assert found[1][key].value == pytest.approx(found[0][key].value, abs=1e-5)
