"""What labels are worth: shares with their denominators, and the words for it."""

from __future__ import annotations

import pytest

from cai.stages.label_worth import PREFIX, doubts, label_worth, sentence, told
from cai.values.types import Comparison, Judgement, Message, Preference, Prompt, Score, Source


def made(number: int, *orders: tuple[float | None, float | None]) -> Preference:
    pair = Comparison(f"c{number}", Prompt(f"p{number}", (Message("user", "?"),)), "a", "b")
    judgements = tuple(Judgement("kind", first, second) for first, second in orders)
    read = [j.p for j in judgements if j.p is not None]
    if not read:
        return Preference(pair, None, Source("ai", "m"), judgements, "unreadable")
    return Preference(pair, sum(read) / len(read), Source("ai", "m"), judgements)


def metrics(labels: list[Preference]) -> dict[str, Score]:
    return {PREFIX + name: score for name, score in label_worth(labels).items()}


def test_shares_by_hand() -> None:
    labels = [
        made(0, (0.9, 0.3), (0.9, 0.8)),  # 0.725; the first judgement flips
        made(1, (0.9, 0.2)),  # 0.55: 0.05 from a tie, and flips
        made(2, (0.9, 0.9)),
        made(3, (0.5, 0.5)),  # a tie in both orders flips nothing
        made(4, (0.6, None)),  # one order alone
        made(5, (None, None)),
    ]
    worth = label_worth(labels)
    assert worth["flipped"].value == pytest.approx(2 / 5) and worth["flipped"].n == 4
    assert worth["near_tie"].value == pytest.approx(2 / 5) and worth["near_tie"].n == 5
    assert (worth["judged_twice"].value, worth["scored"].value) == (5, 5)
    text = told(metrics(labels)) or ""
    assert text.startswith("2 of 5 judgements flip with the order of showing, 0.400 [")
    assert "2 of 5 labels lie within 0.05 of a tie" in text


def test_two_of_two_that_flip_are_doubted() -> None:
    assert doubts(metrics([made(n, (0.9, 0.1)) for n in range(2)]))[0].startswith("a coin")
    assert "2 of 2 judgements flip" in (sentence(metrics([made(n, (0.9, 0.1)) for n in range(2)])) or "")


def test_ties_are_doubted_without_any_flip() -> None:
    assert doubts(metrics([made(n, (0.5, 0.5)) for n in range(40)])) == ["most of them say next to nothing"]


def test_good_labels_are_not_doubted() -> None:
    good = metrics([made(n, (0.9, 0.8)) for n in range(40)])
    assert doubts(good | {f"{PREFIX}agreement": Score(0.8, 0.7, 0.9, 50)}) == []
    assert len(doubts(good | {f"{PREFIX}agreement": Score(0.6, 0.45, 0.75, 50)})) == 1


def test_nothing_measured_is_nothing_told() -> None:
    assert told({}) is None and sentence({}) is None and doubts({}) == []
    assert set(label_worth([])) == {"judged_twice", "scored"}
    assert sentence(metrics([made(0, (None, None))])) is None
