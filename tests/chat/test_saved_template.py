"""What a saved template prints unasked is what was trained."""

from __future__ import annotations

import copy

import pytest
from tiny_models import TEMPLATES, byte_level_tokenizer, unigram_tokenizer
from transformers import AutoTokenizer

from benchmarks.chat_templates import templates, tokenizer_for
from cai.chat.encoding import encode, encode_pair, stop_strings
from cai.chat.saved import PROBES, announce, save_tokenizer, saved_template
from cai.values.types import as_messages

TEXT = {template.name: template.text for template in templates()}


def shown(tokenizer, messages, **variables):
    return tokenizer.apply_chat_template(
        as_messages(messages), tokenize=False, add_generation_prompt=True, **variables
    )


def served(tokenizer, folder):
    save_tokenizer(tokenizer, folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("make", [byte_level_tokenizer, unigram_tokenizer], ids=["bytes", "unigram"])
def test_a_saved_folder_prints_what_was_trained(make, family, tmp_path):
    tokenizer = make(TEMPLATES[family])
    before = tokenizer.chat_template
    again = served(tokenizer, tmp_path)
    assert tokenizer.chat_template == before  # the one in use stays as it was
    for probe in PROBES:
        asked = again.apply_chat_template(as_messages(probe), add_generation_prompt=True, return_dict=False)
        assert asked == encode(tokenizer, probe)
        assert encode(again, probe) == encode(tokenizer, probe)
        assert encode_pair(again, probe, "Yes.") == encode_pair(tokenizer, probe, "Yes.")
    assert stop_strings(again) == stop_strings(tokenizer)
    assert saved_template(again).text is None  # the next training finds nothing to fix


def test_a_base_models_form_begins_as_its_tokenizer_does(tmp_path):
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_level_tokenizer(None)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    again = served(tokenizer, tmp_path)
    asked = again.apply_chat_template(as_messages(PROBES[0]), add_generation_prompt=True, return_dict=False)
    assert asked == encode(tokenizer, PROBES[0])
    assert asked[0] == tokenizer.bos_token_id


def test_what_is_passed_is_still_heard(tmp_path):
    thinking = served(tokenizer_for(TEXT["qwen3"]), tmp_path / "a")
    assert "</think>" in shown(thinking, PROBES[0])
    assert "<think>" not in shown(thinking, PROBES[0], enable_thinking=True)
    always = served(tokenizer_for(TEXT["deepseek_r1_distill"]), tmp_path / "b")
    assert shown(always, PROBES[0]).rstrip().endswith("</think>")
    assert shown(always, PROBES[0], enable_thinking=True).rstrip().endswith("<think>")
    dated = served(tokenizer_for(TEXT["llama3_2"]), tmp_path / "c")
    assert "26 Jul 2024" in shown(dated, PROBES[0])
    assert "1 May 2030" in shown(dated, PROBES[0], date_string="1 May 2030")


def test_finished_conversations_stay_as_they_were(tmp_path):
    tokenizer = tokenizer_for(TEXT["deepseek_r1_distill"])
    again = served(tokenizer, tmp_path)
    whole = as_messages((*PROBES[0], *PROBES[2][1:2]))
    assert again.apply_chat_template(whole, tokenize=False) == tokenizer.apply_chat_template(
        whole, tokenize=False
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qwen3", "no thinking"),
        ("deepseek_r1_distill", "no thinking"),
        ("llama3_2", "the date 26 Jul 2024"),
        ("gptoss", "the date 26 Jul 2024"),
        ("gemma", "a system text in the first user's turn"),
    ],
)
def test_it_is_said_before_the_training(name, words):
    heard = []
    announce(tokenizer_for(TEXT[name]), "a/model", heard.append)
    assert heard == [f"chat template of a/model: trained and saved as its default: {words}"]


def test_nothing_is_said_of_a_template_that_needs_nothing():
    heard = []
    announce(tokenizer_for(TEXT["llama3"]), "a/model", heard.append)
    assert heard == []


def test_what_cannot_be_made_the_default_is_said():
    words_in_the_thought = TEMPLATES["always_thinking"].replace("<think>\n", "<think>So, ")
    tokenizer = byte_level_tokenizer(words_in_the_thought)
    assert saved_template(tokenizer).text is None
    heard = []
    announce(tokenizer, "a/model", heard.append)
    assert len(heard) == 1
    assert "trained, but not what the saved template prints unasked" in heard[0]


def test_named_templates_keep_their_others(tmp_path):
    tokenizer = copy.deepcopy(tokenizer_for(TEXT["qwen3"]))
    tokenizer.chat_template = {"default": TEXT["qwen3"], "other": "{{ messages }}"}
    again = served(tokenizer, tmp_path)
    assert again.chat_template["other"] == "{{ messages }}"
    assert "</think>" in shown(again, PROBES[0])
