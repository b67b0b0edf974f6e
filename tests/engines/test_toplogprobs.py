"""Log-probabilities in all the forms in which servers give them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cai.engines.server.toplogprobs import FirstToken, Listed, first_token, inconsistent, mass, read_choice
from cai.values.errors import ItemError

P = {"A": 0.6, "B": 0.3, "The": 0.05}


def chat(spell: Any = lambda token: {"token": token}, values: dict[str, Any] | None = None) -> dict[str, Any]:
    logs = values or {token: math.log(p) for token, p in P.items()}
    top = [{**spell(token), "logprob": value} for token, value in logs.items()]
    return {"content": [{**top[0], "top_logprobs": top}]}


LOGS = {token: math.log(p) for token, p in P.items()}
FORMS = {
    "chat": chat(),
    "bytes": chat(lambda token: {"token": "�", "bytes": list(token.encode())}),
    "sentencepiece": chat(lambda token: {"token": f"▁{token}"}),
    "byte-level": chat(lambda token: {"token": f"Ġ{token}"}),
    "a byte": chat(lambda token: {"token": f"<0x{ord(token[0]):02X}>" if len(token) == 1 else token}),
    "legacy": {"tokens": ["A"], "token_logprobs": [LOGS["A"]], "top_logprobs": [LOGS]},
    "legacy, without tokens": {"top_logprobs": [LOGS]},
    "ids with bytes": chat(lambda token: {"token": "token_id:65", "bytes": list(token.encode())}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(form: str) -> None:
    listed = first_token(FORMS[form])
    assert listed is not None
    choice = read_choice(("A", "B"), listed, "A", 7)
    assert choice.logprobs == pytest.approx((LOGS["A"], LOGS["B"]))
    assert (choice.prompt_tokens, choice.bounded) == (7, ())
    assert mass(choice) == pytest.approx(0.9)


@pytest.mark.parametrize(
    "logprobs",
    [
        *(
            None,
            {},
            {"content": None},
            {"content": []},
            {"content": [{"token": "A", "logprob": -0.1}]},
            [],
            "A",
        ),
        *({"content": [{"token": "A", "logprob": -0.1, "top_logprobs": []}]}, {"tokens": ["A"]}),
        chat(values={"A": None, "B": float("nan")}),
    ],
)
def test_without_alternatives_there_is_nothing(logprobs: Any) -> None:
    assert first_token(logprobs) is None


def test_ids_have_no_text() -> None:
    listed = first_token(chat(lambda token: {"token": f"token_id:{ord(token[0])}"}))
    assert listed is not None
    assert listed.nameless


def test_spellings_add_up() -> None:
    listed = first_token(chat(values={"A": math.log(0.5), " A": math.log(0.125), "B": math.log(0.25)}))
    assert listed is not None
    assert read_choice(("A", "B"), listed, "", 0).logprobs == pytest.approx((math.log(0.625), math.log(0.25)))


def test_a_null_is_no_value() -> None:
    listed = first_token(chat(values={"A": math.log(0.98), "B": None, "C": math.log(0.001)}))
    assert listed is not None
    assert read_choice(("A", "B"), listed, "A", 0).bounded == (False, True)


def test_an_option_outside_the_list_is_bounded_and_marked() -> None:
    """The surest labels are those where the other option is not among five."""
    listed = first_token(chat(values={"A": -0.01, "The": -5.0, "I": -6.0, "Both": -7.0, "It": -8.0}))
    assert listed is not None
    choice = read_choice(("A", "B"), listed, "A", 0)
    assert (choice.logprobs, choice.bounded) == ((-0.01, -8.0), (False, True))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"The": -0.1, "I": -3.0}, "no option is among.*'A', 'B' not in 'The', 'I'"),
        (
            {"A": -0.7, "The": -0.8},
            "'B' not in 'A', 'The', whose smallest probability, 0.449, says too little",
        ),
        ({"A": -0.7}, "says too little"),
    ],
)
def test_a_list_that_tells_nothing_is_one_item(values: dict[str, float], words: str) -> None:
    listed = first_token(chat(values=values))
    assert listed is not None
    with pytest.raises(ItemError, match=words):
        read_choice(("A", "B"), listed, "A", 0)


@pytest.mark.parametrize(
    ("values", "greedy", "why"),
    [
        ({"A": -0.2, "B": -2.0}, "A)", ""),
        ({"A": -0.70, "B": -0.69}, "A", ""),
        ({" A": -0.2, "B": -2.0}, "A", ""),
        ({"A": -0.2, "B": -2.0}, "The answer", "'A' as most probable.*'The answer'"),
        ({"A": 0.0, "B": 0.0, "C": 0.0}, "A", "add up to 3.00"),
    ],
)
def test_what_is_listed_must_be_of_the_answer(values: dict[str, float], greedy: str, why: str) -> None:
    import re

    found = inconsistent(FirstToken("", tuple(Listed(*item) for item in values.items())), greedy)
    assert re.search(why, found) if why else not found
