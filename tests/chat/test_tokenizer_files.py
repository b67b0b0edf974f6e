"""Tokenizers as people ship them."""

from __future__ import annotations

import json

import pytest
from tiny_models import CHATML, byte_level_tokenizer, save_tiny_model

from cai.chat.tokenizer_files import load_tokenizer, require_room
from cai.values.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "model")


@pytest.fixture
def mistral(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mistral"}))
    (folder / "tekken.json").write_text("{}")
    return folder


def test_a_tekken_file_beside_the_fast_form_is_passed_over(mistral):
    tokenizer = load_tokenizer(mistral)
    assert tokenizer.chat_template == CHATML
    assert tokenizer.get_vocab() == byte_level_tokenizer().get_vocab()


def test_a_tekken_file_alone_is_refused_with_the_remedy(mistral):
    (mistral / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"alone \(tekken.json\).*convert_tekken_tokenizer"):
        load_tokenizer(mistral)


@pytest.mark.parametrize(
    "held",
    [{"chat_template": CHATML}, CHATML, {"chat_template": [{"name": "default", "template": CHATML}]}],
    ids=["object", "text", "named"],
)
def test_a_template_only_in_chat_template_json(folder, held):
    (folder / "chat_template.jinja").unlink()
    assert load_tokenizer(folder).chat_template is None
    (folder / "chat_template.json").write_text(json.dumps(held))
    assert load_tokenizer(folder).get_chat_template() == CHATML


@pytest.mark.parametrize("held", ["{", "{}", "7"])
def test_one_that_cannot_be_read_is_named(folder, held):
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(held)
    with pytest.raises(UsageError, match=r"chat_template.json"):
        load_tokenizer(folder)


def test_more_tokens_than_embeddings(folder):
    tokenizer = load_tokenizer(folder)
    require_room(tokenizer, len(tokenizer), folder)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    with pytest.raises(
        UsageError, match=r"has \d+ tokens and the policy there knows \d+: they do not belong"
    ):
        require_room(tokenizer, len(tokenizer) - 1, folder, "policy")
