"""Thought is counted: in a journal's answers, by step in metrics.json and the summary, and in the plan."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from test_plan import plan

from cai.cli.summary.plan_summary import _asked, _thought
from cai.cli.summary.run_summary import show
from cai.engines.journaled import JournaledEngine, Used
from cai.pipeline.steps.step import record_thought
from cai.run.folder import RunFolder
from cai.run.journal import Journal, asking_for
from cai.values.types import Completion, CompletionRequest, Message, Sampling


class Thinker:
    name, fingerprint = "m", "thinker"

    async def complete(self, request: CompletionRequest) -> Completion:
        return Completion("Yes.", "stop", 4, 30, 25)

    async def close(self) -> None:
        return None


def asked(number: int) -> CompletionRequest:
    return CompletionRequest((Message("user", "Why?"),), Sampling(), number)


async def answered(folder: RunFolder, used: Used, count: int, step: str) -> None:
    async def open() -> Any:
        return Thinker()

    with closing(Journal(folder.journal)) as journal, asking_for(step):
        engine = JournaledEngine("m", "thinker", open, journal, used=used)
        for number in range(count):
            await engine.complete(asked(number))


async def test_thought_is_counted_by_step_and_again_when_the_journal_answers(
    tmp_path: Path, capsys: Any
) -> None:
    folder = RunFolder(tmp_path)
    used = Used()
    run: Any = SimpleNamespace(folder=folder, models=SimpleNamespace(used=used))
    await answered(folder, used, 3, "revise")
    record_thought(run, "revise", Used())
    before = Used(used.written, used.thought)
    record_thought(run, "label", before)  # nothing was asked
    assert {key: score.value for key, score in folder.read_metrics().items()} == {
        "revise/thought_tokens": 75,
        "revise/written_tokens": 90,
    }
    again = Used()
    await answered(folder, again, 3, "revise")
    assert again == Used(90, 75)
    show(folder)
    assert "tokens of thought among those written: revise 75 of 90" in capsys.readouterr().out
    run.models.used = Used()
    record_thought(run, "revise", Used())  # made again by a model that does not think
    assert folder.read_metrics() == {}


async def test_a_cap_on_thought_is_in_the_plan_and_thought_without_one_is_told_from_the_journal(
    tmp_path: Path,
) -> None:
    here = {"name": "pocket", "engine": "transformers"}
    plain, capped = await plan(critic=here), await plan(critic={**here, "thinking": 100})
    calls, revise = plain["revise"].calls, capped["revise"]
    assert revise.thought == calls * 100
    assert revise.written - plain["revise"].written == calls * 100
    assert "(16.0 k of thought)" in _asked(revise)
    folder = RunFolder(tmp_path)
    await answered(folder, Used(), 2, "revise")
    (line,) = _thought([plain["revise"]], tmp_path)
    assert "25 tokens of thought an answer so far" in line
    assert _thought([revise], tmp_path) == []


async def test_labels_of_a_model_here_that_thinks_are_planned_as_verdicts() -> None:
    here = {"name": "pocket", "engine": "transformers", "thinking": 64}
    found = await plan(labeler=here, label={"samples": 3})
    assert found["label"].calls == 40 * 2 * 3
    assert found["label"].thought == 40 * 2 * 3 * 64
