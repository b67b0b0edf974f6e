"""The shipped pocket model and its tokenizer, as a user's tools would load them."""

from __future__ import annotations

import random

import pytest

from cai.pocket import MODEL_PATH

pytest.importorskip("transformers")
TEXTS = [
    "How do I clean the lamp?",
    "emoji 🙂 and שלום",
    "<|end|><|assistant|>",
    "(A) {{ x }} {% if %}",
    " ",
    "\n\n",
]


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL_PATH)


@pytest.mark.slow
def test_any_text_survives_the_tokenizer(tokenizer) -> None:  # type: ignore[no-untyped-def]
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.encode("lamp") == tokenizer.encode("lamp", add_special_tokens=False)


@pytest.mark.slow
def test_letters_and_ends_are_single_tokens(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert all(len(tokenizer.encode(letter, add_special_tokens=False)) == 1 for letter in "AB")
    assert tokenizer.eos_token == "<|end|>" and tokenizer.bos_token == "<|begin|>"


@pytest.mark.slow
def test_chat_template_is_what_training_saw(tokenizer) -> None:  # type: ignore[no-untyped-def]
    from tools.pocket.documents import revise_doc
    from tools.pocket.encode import Encoder

    doc = revise_doc(random.Random(3))
    messages = [{"role": role, "content": "".join(t for t, _ in parts)} for role, parts in doc.turns]
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    assert ids == Encoder(tokenizer.backend_tokenizer)(doc).ids


@pytest.mark.slow
def test_gates_hold_on_a_small_sample() -> None:
    """A twentieth of the gates' cases: a broken model misses by far, chance does not."""
    from tools.pocket.gates import measure

    missed = [row for row in measure(MODEL_PATH, n=40, seed=1) if row.gate and not row.passed]
    assert not [
        row for row in missed if row.gate and (row.high < row.gate if row.gate > 0 else row.low > -row.gate)
    ]
