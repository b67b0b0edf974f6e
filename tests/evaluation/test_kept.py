"""Rewards and lm-eval answers in a run folder: kept as they arrive, and absent where they cannot be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cai.evaluation import kept
from cai.evaluation.kept import rewards
from cai.evaluation.lm_eval.harness import Task, _is_whole
from cai.rewards.reward import Scored
from cai.run.folder import RunFolder
from cai.values.types import Message, Prompt, Response

RESPONSES = [
    Response(Prompt(f"p{n}", (Message("user", "Why?"),)), "so " * (n % 7 + 1) + str(n)) for n in range(50)
]


class Lengths:
    """A reward of lengths; stops as a kill does once it has scored ``most``."""

    name = "lengths"
    fingerprint = "f" * 64

    def __init__(self, most: int = 10**9) -> None:
        self.most = most
        self.scored = 0

    async def score(self, responses: Sequence[Response]) -> list[Scored]:
        if self.scored + len(responses) > self.most:
            raise KeyboardInterrupt
        self.scored += len(responses)
        return [Scored(float(len(r.text))) if "13" not in r.text else Scored(None, "odd") for r in responses]

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BATCH", 8)


async def scored(reward: Lengths, folder: RunFolder, said: list[str]) -> list[Scored]:
    async def before() -> None:
        pass

    return await rewards(reward, RESPONSES, folder, before, said.append)


async def test_a_kill_costs_one_batch_at_most(tmp_path: Path) -> None:
    folder, said = RunFolder(tmp_path), list[str]()
    with pytest.raises(KeyboardInterrupt):
        await scored(Lengths(most=30), folder, said)
    again, whole = Lengths(), Lengths()
    found = await scored(again, folder, said)
    assert again.scored == 50 - 24
    assert found == await scored(whole, RunFolder(tmp_path / "other"), said)
    assert whole.scored == 50 and said == []
    assert await scored(Lengths(most=0), folder, said) == found


@pytest.mark.parametrize(
    "content",
    [
        *(
            "",
            "{",
            "[]",
            "null",
            '{"a": 1}',
            '{"a": []}',
            '{"a": [1.0]}',
            '{"a": [NaN, ""]}',
            '{"a": [1e999, ""]}',
        ),
        *(
            '{"a": [null, ""]}',
            '{"a": [true, ""]}',
            '{"a": ["1", ""]}',
            '{"a": [1.0, 2]}',
            "\x00" * 90,
            "[" * 9999,
        ),
    ],
)
async def test_a_damaged_file_is_absent(tmp_path: Path, content: str) -> None:
    folder, said = RunFolder(tmp_path), list[str]()
    found = await scored(Lengths(), folder, said)
    (file,) = (tmp_path / "data").iterdir()
    file.write_text(content)
    again = Lengths()
    assert await scored(again, folder, said) == found
    assert again.scored == 50
    assert len(said) == 1 and f"{file.name}.damaged" in said[0]
    assert file.with_name(f"{file.name}.damaged").read_text() == content
    assert await scored(Lengths(most=0), folder, said) == found


MEASURED = {
    "figures": {"acc": 0.5},
    "stderr": {"acc": 0.1},
    "version": "1",
    "items": [{"id": 1}],
    "context": 9,
}


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        ({"tasks": {"t": MEASURED}}, True),
        ({"tasks": {"t": MEASURED, "u": MEASURED}}, True),
        ({}, False),
        ({"tasks": []}, False),
        ({"tasks": {}}, False),
        ({"tasks": {"t": {}}}, False),
        ({"tasks": {"t": MEASURED | {"figures": {}}}}, False),
        ({"tasks": {"t": MEASURED | {"figures": {"acc": "x"}}}}, False),
        ({"tasks": {"t": MEASURED | {"items": 3}}}, False),
        ({"tasks": {"t": MEASURED | {"items": [3]}}}, False),
        ({"tasks": {"t": MEASURED | {"of_a_later": "cai"}}}, False),
    ],
)
def test_what_lm_eval_found_is_whole_or_absent(answer: dict[str, Any], whole: bool) -> None:
    assert _is_whole(json.loads(json.dumps(answer)), [Task("t", ("acc",), (), "test")]) is whole
