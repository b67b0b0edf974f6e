"""From a request to ids and from ids to an answer, without a model."""

from __future__ import annotations

import json

import pytest
from tiny_models import CHATML, byte_level_tokenizer, save_tiny_model

from benchmarks.chat_templates import templates, tokenizer_for
from cai.config.run_config import ModelConfig
from cai.engines.backend import model_path
from cai.engines.local.answers import TextSide
from cai.values.errors import UsageError
from cai.values.types import CompletionRequest, Message, Sampling

QUESTION = (Message("user", "Hello world! What is this?"),)


def answered(tokenizer, text, *, ended=True, stop=(), prefill=""):
    side = TextSide(tokenizer, 512)
    job = side.completion(CompletionRequest(QUESTION, Sampling(stop=stop), 0, prefill))
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    done = side.finish(job, [*ids, max(side.end_ids)] if ended else ids)
    return done.text, done.finish


def test_a_thought_is_no_answer_however_it_ends():
    tokenizer = byte_level_tokenizer(CHATML)
    assert answered(tokenizer, "<think>Hm.</think>\n\nYes.") == ("Yes.", "stop")
    assert answered(tokenizer, "<think>Hm.</think>\n\nYes.", ended=False) == ("Yes.", "length")
    assert answered(tokenizer, "<think>Hm. Yes.", ended=False) == ("", "length")
    assert answered(tokenizer, "<think>Hm. Yes.") == ("", "length")


def test_a_stop_string_in_a_thought_is_none_of_the_answers():
    tokenizer = byte_level_tokenizer(CHATML)
    assert answered(tokenizer, "<think>No.</think>Yes. No.", stop=("No.",)) == ("Yes. ", "stop")


def test_channels():
    tokenizer = tokenizer_for(next(t.text for t in templates() if t.name == "gptoss"))
    thought = "<|channel|>analysis<|message|>The capital."
    final = "<|end|><|start|>assistant<|channel|>final<|message|>Paris."
    assert answered(tokenizer, thought + final) == ("Paris.", "stop")
    assert answered(tokenizer, thought, ended=False) == ("", "length")
    assert answered(tokenizer, "aris.", prefill="P") == ("aris.", "stop")


def test_a_template_that_cannot_be_used_is_known_before_anything_is_asked(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ conversations }}")
    with pytest.raises(UsageError, match=f"chat template of {folder} cannot be used"):
        TextSide.load(folder, None)


def test_an_adapters_folder_gets_its_remedy(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    with pytest.raises(UsageError, match=r"LoRA adapter of org/base, not a model.*merge_and_unload"):
        model_path(ModelConfig(name=str(folder)))
    (folder / "adapter_config.json").write_text("[")
    with pytest.raises(UsageError, match="LoRA adapter of its base model"):
        model_path(ModelConfig(name=str(folder)))
