"""Which templates can be made to think, by which of the public words, and what is said of the others."""

from __future__ import annotations

import pytest
from tiny_models import ALWAYS_THINKING, CHATML, THINKING, byte_level_tokenizer

from benchmarks.chat_templates import templates, tokenizer_for
from cai.chat.encoding import encode
from cai.chat.thinking import thinking_as, variables_of
from cai.values.errors import UsageError
from cai.values.types import Message

QUESTION = (Message("user", "Hello world! What is this?"),)
TEXT = {template.name: template.text for template in templates()}
DIALOGUE = (*QUESTION, Message("assistant", "A lazy dog."), Message("user", "No."))


@pytest.mark.parametrize("name", ["qwen3", "glm4moe", "nemotron_3_nano", "gemma4", "qwen3_6"])
@pytest.mark.parametrize("messages", [QUESTION, DIALOGUE], ids=["question", "dialogue"])
def test_the_prompt_is_the_template_s_own_with_its_switch_on(name, messages):
    tokenizer = tokenizer_for(TEXT[name])
    form = thinking_as(tokenizer, name, True)
    shown = [{"role": m.role, "content": m.content} for m in messages]
    wanted = tokenizer.apply_chat_template(
        shown, add_generation_prompt=True, enable_thinking=True, return_dict=False
    )
    assert form.prompt(messages) == list(wanted) != encode(tokenizer, messages)


def test_a_prompt_that_begins_a_thought_by_itself_leaves_it_open():
    tokenizer = byte_level_tokenizer(ALWAYS_THINKING)
    form = thinking_as(tokenizer, "m", True)
    assert form.open and tokenizer.decode(form.prompt(QUESTION)).endswith("<think>\n")
    assert thinking_as(tokenizer, "m", False) is None  # cai ends it


@pytest.mark.parametrize("word", ["enable_thinking", "thinking", "reasoning"])
def test_every_public_word_for_it(word):
    tokenizer = byte_level_tokenizer(THINKING.replace("enable_thinking", word))
    form = thinking_as(tokenizer, "m", True)
    assert (form.open, form.begin, form.end) == (False, "<think>", "</think>")
    assert tokenizer.decode(form.prompt(QUESTION)).endswith("assistant\n")


def test_a_number_of_tokens_reaches_a_template_that_tells_its_model():
    told = CHATML.replace(
        "assistant\n' }}", "assistant\n<think>' }}{% if thinking_budget %}{{ thinking_budget }}{% endif %}"
    )
    tokenizer = byte_level_tokenizer(told)
    assert tokenizer.decode(thinking_as(tokenizer, "m", 96).prompt(QUESTION)).endswith("<think>96")


@pytest.mark.parametrize("wanted", [True, 64])
def test_a_template_without_a_word_for_it_is_refused_in_words(wanted):
    for name in ("llama3", "qwen2_5", "phi3"):
        with pytest.raises(
            UsageError, match=f"{name}: thinking: {str(wanted).lower()} cannot be kept.*no switch"
        ):
            thinking_as(tokenizer_for(TEXT[name]), name, wanted)
        assert thinking_as(tokenizer_for(TEXT[name]), name, False) is None  # nothing to switch off


@pytest.mark.parametrize("wanted", [True, False, 64])
def test_channels_are_refused_in_words(wanted):
    with pytest.raises(UsageError, match="channels"):
        thinking_as(tokenizer_for(TEXT["gptoss"]), "m", wanted)


def test_a_word_that_changes_no_prompt_is_no_switch():
    said = "{% if enable_thinking and messages | length > 90 %}<think></think>{% endif %}" + CHATML
    with pytest.raises(UsageError, match="no switch"):
        thinking_as(byte_level_tokenizer(said), "m", True)


def test_a_model_that_may_think_and_cannot_be_stopped_is_refused():
    splits = CHATML.replace("m.content", "m.content.split('</think>')[-1]")
    with pytest.raises(UsageError, match="thinking: false cannot be kept"):
        thinking_as(byte_level_tokenizer(splits), "m", False)


def test_variables_are_those_that_the_template_does_not_set_itself():
    source = "{% set thinking = true %}{% generation %}{{ thinking }}{{ enable_thinking }}{% endgeneration %}"
    assert variables_of(source) == {"enable_thinking"}
    assert variables_of("{% set enable_thinking = enable_thinking | default(true) %}") == {"enable_thinking"}
    assert variables_of("{% unheard_of %}") == frozenset()
