"""The label step in process: what it counts, what it quarantines, and what it says of its labels."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cai.config.run_config import LabelConfig, RunConfig
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.data.tables import comparison_row, preference_from, preference_row
from cai.engines.scripted import ScriptedEngine
from cai.pipeline.steps.feedback import step_label
from cai.run.folder import RunFolder
from cai.run.progress import Silent
from cai.values.errors import CaiError, ItemError
from cai.values.types import ChoiceRequest, Comparison, Judgement, Message, Preference, Prompt, Source


class Engine(ScriptedEngine):
    """A scripted engine with what a journaled one has besides."""

    max_concurrency = 4
    meter = SimpleNamespace(completion_tokens=0)


def pair(number: int, a: str = "GOOD", b: str = "BAD") -> Comparison:
    return Comparison(f"p{number}/0-1", Prompt(f"p{number}", (Message("user", f"Why {number}?"),)), a, b)


async def labeled(folder: Path, pairs: list[Comparison], choose: Any) -> tuple[RunFolder, list[str]]:
    home = RunFolder(folder)
    home.write_table("comparisons", map(comparison_row, pairs))
    templates = Templates.load()
    said: list[str] = []
    progress = Silent()
    run = SimpleNamespace(
        folder=home,
        config=RunConfig(label=LabelConfig(few_shot=0)),
        templates=templates,
        constitution=load_constitution("harmless", templates),
        models=SimpleNamespace(engine=lambda config: Engine((), choose)),
        progress=SimpleNamespace(say=said.append, bar=progress.bar),
        seed=lambda stage: 0,
    )
    await step_label(cast(Any, run))
    return home, said


def by_position(request: ChoiceRequest) -> list[float]:
    return [math.log(0.8), math.log(0.2)]


def by_content(request: ChoiceRequest) -> list[float]:
    text = request.messages[-1].content
    return [0.0, -3.0] if text.index("GOOD") < text.index("BAD") else [-3.0, 0.0]


async def test_two_of_two_flips_are_said_by_the_step_itself(tmp_path: Path) -> None:
    folder, said = await labeled(tmp_path, [pair(0), pair(1)], by_position)
    assert len(said) == 2  # the doubt, and what to do about it
    assert "2 of 2 judgements flip with the order of showing, 1.000" in said[0]
    assert "2 of 2 labels lie within 0.05 of a tie" in said[0]
    metrics = folder.read_metrics()
    assert metrics["label/flipped"].value == 1.0 and metrics["label/judged_twice"].value == 2
    assert (metrics["label/order_flips"].value, metrics["label/scored"].value) == (2, 2)


async def test_many_flips_are_told_with_what_to_do_about_them(tmp_path: Path) -> None:
    folder, said = await labeled(tmp_path, [pair(n) for n in range(30)], by_position)
    assert "30 of 30 judgements change with the order: label.form=single has no order" in said[1]
    metrics = folder.read_metrics()
    assert (metrics["label/by_logprobs"].value, metrics["label/by_samples"].value) == (30, 0)
    assert metrics["label/mass"].value == pytest.approx(1.0)


async def test_good_labels_are_not_doubted_aloud(tmp_path: Path) -> None:
    folder, said = await labeled(tmp_path, [pair(n) for n in range(30)], by_content)
    assert said == []
    assert folder.read_metrics()["label/near_tie"].value == 0.0


async def test_agreement_with_people_stands_where_there_are_votes(tmp_path: Path) -> None:
    votes = [
        Preference(pair(n), float(n > 0), Source("human", "ann"), (Judgement("q", float(n > 0), None),))
        for n in range(3)
    ]
    RunFolder(tmp_path).write_table("human", map(preference_row, votes))
    folder, said = await labeled(tmp_path, [pair(n) for n in range(3)], by_content)
    assert folder.read_metrics()["label/agreement"].value == pytest.approx(2 / 3)
    assert "people's side" in said[0]


async def test_a_response_that_says_nothing_is_counted_and_is_no_failure(tmp_path: Path) -> None:
    folder, _ = await labeled(tmp_path, [pair(0), pair(1, b=":"), pair(2, a="", b=".")], by_content)
    metrics = folder.read_metrics()
    assert (metrics["label/says_nothing"].value, metrics["label/unscored"].value) == (2, 0)
    assert folder.read_failures() == []
    kept = folder.read_table("preferences", preference_from)
    assert [(p.p is None, p.raw) for p in kept[1:]] == [
        (True, "b: punctuation only"),
        (True, "a: empty; b: punctuation only"),
    ]


async def test_an_unreadable_judgement_still_is_one(tmp_path: Path) -> None:
    def choose(request: ChoiceRequest) -> list[float]:
        if "Why 1" in request.messages[-1].content:
            raise ItemError("no readable verdict")
        return by_content(request)

    folder, _ = await labeled(tmp_path, [pair(0), pair(1)], choose)
    assert [(f.stage, f.reason) for f in folder.read_failures()] == [("label", "no readable verdict")]


async def test_nothing_scored_stops_the_run_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(CaiError, match="no pair could be scored: 1 × a response says nothing"):
        await labeled(tmp_path, [pair(0, b=":")], by_content)
