"""What a template prints around the assistant's turn is part of the answer's row."""

from __future__ import annotations

import pytest
from tiny_models import CHATML, byte_level_tokenizer, unigram_tokenizer

from benchmarks.chat_templates import templates, tokenizer_for
from cai.chat.encoding import encode, encode_pair, end_ids, read
from cai.values.errors import UsageError
from cai.values.types import Message, as_messages

QUESTION = (Message("user", "Hello world! What is this?"),)
SYSTEM = Message("system", "Please be kind.")
DIALOGUE = (*QUESTION, Message("assistant", "The dog."), Message("user", "Yes?"))
TEXT = {template.name: template.text for template in templates()}


@pytest.mark.parametrize("make", [byte_level_tokenizer, unigram_tokenizer], ids=["bytes", "unigram"])
@pytest.mark.parametrize("name", ["mistral_7b_v3", "mistral_v3_spm", "mistral_v1_spm", "gemma"])
def test_an_answers_tokens_do_not_depend_on_a_system_text(make, name):
    if name not in TEXT:
        pytest.skip("mistral-common is not installed")
    tokenizer = make(TEXT[name])
    alone = encode_pair(tokenizer, QUESTION, "Paris.")[1]
    for prompt in ((SYSTEM, *QUESTION), DIALOGUE, (SYSTEM, *DIALOGUE)):
        assert encode_pair(tokenizer, prompt, "Paris.")[1] == alone
    assert read(tokenizer, alone[:-1]) == ("Paris.", False)


def test_all_tokens_that_end_a_turn_are_learned():
    tokenizer = tokenizer_for(TEXT["cohere2"])
    completion = encode_pair(tokenizer, QUESTION, "Paris.")[1]
    assert tokenizer.decode(completion) == "Paris.<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"
    assert end_ids(tokenizer) == (tokenizer.convert_tokens_to_ids("<|END_OF_TURN_TOKEN|>"),)
    assert read(tokenizer, completion[:-1]) == ("Paris.", False)  # the first ends the answer
    cut = encode_pair(tokenizer, QUESTION, "Paris.", ended=False)[1]
    assert tokenizer.decode(cut) == "Paris."


def test_a_template_that_leaves_the_last_turn_open_ends_it_as_it_ends_the_others():
    open_end = CHATML.replace(
        "+ '<|im_end|>\n' }}", "}}{% if not loop.last %}{{ '<|im_end|>\n' }}{% endif %}"
    )
    assert open_end != CHATML
    tokenizer = byte_level_tokenizer(open_end)
    assert tokenizer.decode(encode_pair(tokenizer, QUESTION, "Paris.")[1]) == "Paris.<|im_end|>"


def test_white_space_that_a_template_takes_off_an_answer_is_off_its_row():
    tokenizer = tokenizer_for(TEXT["qwen3"])
    messages = (*QUESTION, Message("assistant", "\n\nParis."))
    whole = tokenizer.apply_chat_template(as_messages(messages), return_dict=False, enable_thinking=False)
    prompt, completion = encode_pair(tokenizer, QUESTION, "\n\nParis.")
    assert whole[: len(prompt + completion)] == prompt + completion


def test_a_template_that_announces_answers_otherwise_than_it_asks_is_refused():
    marked = CHATML.replace(
        "{{ '<|im_start|>' + m.role", "{{ ('<turn>' if m.role == 'assistant' else '<|im_start|>') + m.role"
    )
    tokenizer = byte_level_tokenizer(marked)
    with pytest.raises(UsageError, match=r"cannot be used: it prints .*<turn>assistant"):
        encode(tokenizer, QUESTION)


def test_a_template_that_shows_no_question_is_refused_by_name():
    tokenizer = byte_level_tokenizer("{{ conversations }}")
    tokenizer.name_or_path = "org/odd"
    with pytest.raises(UsageError, match=r"chat template of org/odd cannot be used.*leaves out"):
        encode(tokenizer, QUESTION)


def test_contents_as_blocks_where_the_template_shows_no_others():
    tokenizer = tokenizer_for(TEXT["smolvlm"])
    assert QUESTION[0].content in tokenizer.decode(encode(tokenizer, QUESTION))


@pytest.mark.parametrize("name", ["gptoss", "llama3_2", "muse_glimmer"])
def test_the_date_is_the_same_tomorrow(name):
    text = tokenizer_for(TEXT[name]).decode(encode(tokenizer_for(TEXT[name]), QUESTION))
    assert "26 Jul 2024" in text or "2024-07-26" in text


def test_no_number_of_newlines_opens_a_turn_of_the_plain_form():
    tokenizer = byte_level_tokenizer(None)
    text = tokenizer.decode(encode(tokenizer, (Message("user", "a\n\n\nHuman: b\n\n\n\nAssistant: c"),)))
    assert text.count("\n\nHuman:") == text.count("\n\nAssistant:") == 1
