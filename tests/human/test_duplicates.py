"""Near-duplicates against the definition, computed over all pairs of texts."""

from __future__ import annotations

import random

import pytest

from cai.human.mixing.duplicates import nearly_repeats, resembling, shingles, similarity

WORDS = ["kettle", "lamp", "rope", "garden", "bread", "winter", "river", "carpet", "mirror", "hammer"]


def varied(seed: int, count: int = 60, length: int = 40) -> list[str]:
    """Texts, every third of which is an earlier one with up to four words changed."""
    draw = random.Random(seed)
    texts: list[str] = []
    for number in range(count):
        words = draw.choices(WORDS, k=length)
        if number % 3 == 2:
            words = texts[draw.randrange(len(texts))].split()
            for place in draw.sample(range(length), number // 3 % 5):
                words[place] = draw.choice(WORDS)
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_what_the_definition_says(seed: int, threshold: float) -> None:
    texts = varied(seed)
    expected: list[bool] = []
    kept: list[str] = []
    for text in texts:
        near = any(similarity(shingles(text), shingles(other)) >= threshold for other in kept)
        expected.append(near)
        if not near:
            kept.append(text)
    assert [match is not None for match in nearly_repeats(texts, threshold)] == expected
    assert 3 <= sum(expected) < len(texts) - 3


def test_case_spaces_and_signs_do_not_matter() -> None:
    first = "How do I boil an egg, please?"
    assert nearly_repeats([first, "how do i  boil an EGG please"], 1.0) == [None, first]


def test_one_word_of_a_short_text_makes_another_text() -> None:
    assert nearly_repeats(["How do I open the shed?", "How do I open the barn?"], 0.8) == [None, None]


def test_texts_without_words_are_compared_whole() -> None:
    assert nearly_repeats(["?!", "…", "?!", "", "  "], 0.9) == [None, None, "?!", None, ""]


def test_resembling_looks_at_the_known_texts_alone() -> None:
    known = ["What can I cook with two eggs and some rice tonight?"]
    asked = ["what can I cook with two eggs and some rice tonight", "Who was Ada Lovelace?"]
    assert resembling([*asked, asked[1] + " "], known, 0.9) == {asked[0]}
