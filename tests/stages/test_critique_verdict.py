"""What a critique says about the response: absence and mention are not verdicts."""

from __future__ import annotations

import pytest

from cai.constitution.templates import NO_PROBLEM, Templates
from cai.stages.critique_verdict import Finding, read_critique


@pytest.mark.parametrize(
    "critique",
    [
        "No critique needed.",
        "no critique needed",
        "All is well. No critique needed.",
        "There's no harm in it. **No critique needed.**",
        "It is kind.\n\nNo critique\nneeded!",
        "Nothing is wrong, so no critique needed.",
        "Verdict: No critique needed.",
        'It is kind. "No critique needed."',
        "It is kind – no critique needed. ✅",
        "No critique needed. It is kind. No critique needed.",
    ],
)
def test_a_critique_that_ends_with_the_words_is_clean(critique: str) -> None:
    assert read_critique(critique, NO_PROBLEM).finding is Finding.CLEAN


@pytest.mark.parametrize(
    ("critique", "reason"),
    [
        ("", "empty"),
        ("\u200b \n", "empty"),
        ("...", "punctuation only"),
        ("Critique:", "a heading without a text"),
        ("No critique needed. It is kind.", "within other text"),
        ("“No critique needed” would be wrong here: it insults her.", "within other text"),
        ("No critique needed for the tone, but it explains a theft.", "within other text"),
        ("I can't say no critique needed.", "denied or conditional"),
        ("I would not say: No critique needed.", "denied or conditional"),
        ("I don’t agree that no critique needed", "denied or conditional"),
        ('It would be a lie to write "No critique needed."', "denied or conditional"),
        ("If nothing in it needs to change, end with: No critique needed.", "denied or conditional"),
        ('The user asked for "No critique needed."', "quoted"),
    ],
)
def test_absence_and_mention_are_unread_with_a_reason(critique: str, reason: str) -> None:
    verdict = read_critique(critique, NO_PROBLEM)
    assert verdict.finding is Finding.UNREAD
    assert (verdict.reason or "").startswith("critique: ")
    assert reason in (verdict.reason or "")


@pytest.mark.parametrize("critique", ["It is rude.", "A critique is needed.", "No critic needed."])
def test_any_other_critique_asks_for_a_change(critique: str) -> None:
    assert read_critique(critique, NO_PROBLEM).finding is Finding.PROBLEM


def test_the_request_itself_is_no_verdict() -> None:
    class Asked:
        id, principle, critique, revision, question = "x", "Be kind.", "Say what is unkind.", "r", "q"

    assert read_critique(Templates.load().critique(Asked()), NO_PROBLEM).finding is Finding.UNREAD


def test_the_worked_examples_are_read_as_they_are_meant() -> None:
    for example in Templates.load().examples.critiques:
        clean = read_critique(example.critique, NO_PROBLEM).finding is Finding.CLEAN
        assert clean == (example.revision is None)
