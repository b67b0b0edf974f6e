"""Which prompts the pocket model has no words for."""

from __future__ import annotations

import pytest

from cai.data.reading import read_rows
from cai.pocket import world
from cai.pocket.familiar import strangeness, unknown_share


@pytest.mark.parametrize("name", ["train", "helpful", "eval"])
def test_the_worlds_own_prompts_are_known(name: str) -> None:
    rows = [row for _, row in read_rows(str(world.HERE / "prompts" / f"{name}.jsonl"))]
    texts = [
        row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"] for row in rows
    ]
    assert len(texts) >= 480
    assert strangeness(texts) is None
    assert max(map(unknown_share, texts)) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "Quelle heure est-il ?",
        "What is photosynthesis?",
        "Explain quantum entanglement.",
        "日本の首都は?",
        "?!",
    ],
)
def test_other_subjects_and_languages_are_not(text: str) -> None:
    assert unknown_share(text) >= 0.5
    said = strangeness([text, "How do I pick the lock of a shed?"]) or ""
    assert "1 of 2 prompts" in said and "--model" in said
