"""A trained reward model says the same to whoever loads it in the plain way of transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TEMPLATES, byte_level_tokenizer
from training_rows import pairs

from cai.chat.encoding import encode_answered
from cai.chat.saved import save_tokenizer
from cai.chat.tokenizer_files import load_tokenizer
from cai.config.train_config import LoraConfig, RewardModelConfig, SFTConfig
from cai.rewards.model import RewardModel
from cai.training.checkpoint import training_key
from cai.training.reward_model import _load_tokenizer, train_reward
from cai.values.types import Message, Response, as_messages

ASKED = [Response(pair.prompt, text) for pair in pairs()[:6] for text in (pair.chosen, pair.rejected)]
SYSTEM = Message("system", "Be kind.")
CONFIG: dict[str, Any] = {
    "batch_size": 8, "micro_batch_size": 4, "learning_rate": 1e-2, "epochs": 2.0, "dtype": "float32"
}  # fmt: skip


def conversation(response: Response) -> list[dict[str, str]]:
    return as_messages((*response.prompt.messages, Message("assistant", response.text)))


def with_template(model: Path, folder: Path, template: str | None, pad: str) -> Path:
    shutil.copytree(model, folder)
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template, tokenizer.pad_token = template, pad
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", TEMPLATES)
def test_rows_end_where_the_saved_template_ends(family: str, tmp_path: Path) -> None:
    before = byte_level_tokenizer(TEMPLATES[family])
    save_tokenizer(before, tmp_path)
    after = load_tokenizer(tmp_path)
    for response in ASKED:
        for messages in (response.prompt.messages, (SYSTEM, *response.prompt.messages)):
            whole = as_messages((*messages, Message("assistant", response.text)))
            theirs = after.apply_chat_template(whole, return_dict=False)
            assert encode_answered(before, messages, response.text) == theirs
            assert encode_answered(after, messages, response.text) == theirs


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoraConfig(r=4)], ids=["full", "lora"])
@pytest.mark.parametrize("family", TEMPLATES)
async def test_the_plain_ways_of_transformers_give_the_same_reward(
    family: str, lora: LoraConfig | None, tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    pad = "<|im_end|>" if lora is None else "</s>"  # in some families the end of a turn, too
    base = with_template(tiny_model, tmp_path / "base", TEMPLATES[family], pad)
    out = train_reward(base, pairs(), RewardModelConfig(**CONFIG, lora=lora), tmp_path / "out", 3).path
    ours = torch.tensor([scored.value for scored in await RewardModel(out).score(ASKED)])
    assert ours.std() > 0.1

    model = AutoModelForSequenceClassification.from_pretrained(out)
    tokenizer: Any = AutoTokenizer.from_pretrained(out)
    center = json.loads((out / "config.json").read_text())["reward_center"]
    with torch.inference_mode():
        alone = [
            model(**tokenizer.apply_chat_template(conversation(r), return_tensors="pt", return_dict=True))
            for r in ASKED
        ]
        batch = tokenizer.apply_chat_template(
            list(map(conversation, ASKED)), return_tensors="pt", return_dict=True, padding=True
        )
        together = model(**batch).logits[:, 0]
    by_hand = torch.stack([output.logits[0, 0] for output in alone])
    torch.testing.assert_close(by_hand - center, ours, atol=1e-4, rtol=0)
    torch.testing.assert_close(together - center, ours, atol=1e-4, rtol=0)

    classify: Any = pipeline("text-classification", model=str(out))
    texts = [tokenizer.apply_chat_template(conversation(r), tokenize=False) for r in ASKED]
    piped = torch.tensor([found["score"] for found in classify(texts)])
    torch.testing.assert_close(piped - center, ours, atol=1e-4, rtol=0)


def test_padding_never_ends_a_conversation(tiny_model: Path, tmp_path: Path) -> None:
    for pad in ("<|im_end|>", "</s>"):
        base = with_template(tiny_model, tmp_path / pad.strip("</|>"), TEMPLATES["brackets"], pad)
        tokenizer = _load_tokenizer(str(base))
        last = encode_answered(tokenizer, (Message("user", "?"),), "!")[-1]
        assert tokenizer.pad_token_id != last


def test_rows_that_end_elsewhere_are_another_training(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cai.training import checkpoint

    keys: dict[str, set[str]] = {}
    for versions in ({}, dict(checkpoint._VERSIONS)):
        monkeypatch.setattr(checkpoint, "_VERSIONS", versions)
        for method, config in (("reward", RewardModelConfig()), ("dpo", SFTConfig()), ("sft", SFTConfig())):
            keys.setdefault(method, set()).add(training_key(method, str(tiny_model), pairs(), config, 0))
    assert {method: len(found) for method, found in keys.items()} == {"reward": 2, "dpo": 1, "sft": 1}
