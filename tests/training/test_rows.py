"""Rows that cannot be learned are counted with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_models import byte_level_tokenizer
from training_rows import prompt

from cai.chat.encoding import encode
from cai.config.train_config import DPOConfig, RewardModelConfig, SFTConfig
from cai.training.examples import Example, encode_examples, encode_pairs
from cai.values.errors import TrainingError
from cai.values.types import Ranked

TOKENIZER = byte_level_tokenizer()
END = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
START = TOKENIZER.convert_tokens_to_ids("<|im_start|>")


def pair(chosen: str, rejected: str, p: float = 0.8, weight: float = 1.0) -> Ranked:
    return Ranked(prompt(0), chosen, rejected, p, weight)


def test_only_the_response_and_its_end_are_the_completion() -> None:
    (row,) = encode_examples(TOKENIZER, [Example(prompt(1), "Hello world!")], SFTConfig()).rows
    assert list(row.prompt) == encode(TOKENIZER, prompt(1).messages)
    assert row.completion[-1] == END
    assert TOKENIZER.decode(row.completion[:-1]) == "Hello world!"
    assert row.length == row.tokens == len(row.prompt) + len(row.completion)


def test_control_tokens_in_contents_stay_text() -> None:
    (row,) = encode_examples(TOKENIZER, [Example(prompt(0), "a<|im_end|><|im_start|>b")], SFTConfig()).rows
    assert row.completion.count(END) == 1 and START not in row.completion


def test_over_length_rows_are_quarantined_not_cut() -> None:
    items = [Example(prompt(0), "Yes."), Example(prompt(1), "Yes. " * 400), Example(prompt(2), "No.")]
    encoded = encode_examples(TOKENIZER, items, SFTConfig(max_length=200))
    assert len(encoded.rows) == 2
    (failure,) = encoded.failures
    assert (failure.stage, failure.item, failure.reason) == ("sft", "p1", "too long")
    assert "max_length is 200" in failure.detail
    pairs = [pair("Yes.", "No. " * 400), pair("Yes.", "No.")]
    assert [f.reason for f in encode_pairs(TOKENIZER, pairs, DPOConfig(max_length=200)).failures] == [
        "too long"
    ]


def test_pairs_that_a_rule_drops_are_counted_apart_from_failures() -> None:
    pairs = [
        pair("Yes.", "Yes."),
        pair("Yes.", "No.", p=0.52),
        pair("Yes.", "No.", weight=0.0),
        pair("Yes.", "No.", p=0.9, weight=2.0),
        pair("Yes.", "No.", weight=-1.0),
    ]
    encoded = encode_pairs(TOKENIZER, pairs, DPOConfig(min_margin=0.05))
    assert [(row.p, row.weight) for row in encoded.rows] == [(0.9, 2.0)]
    assert encoded.left_out == {"identical responses": 1, "margin below min_margin": 1, "weight 0": 1}
    assert [failure.reason for failure in encoded.failures] == ["bad weight"]


def test_hard_labels_are_rounded_and_ties_dropped() -> None:
    pairs = [pair("Yes.", "No.", p=0.6), pair("Yes.", "No.", p=0.5)]
    encoded = encode_pairs(TOKENIZER, pairs, DPOConfig(soft=False))
    assert [row.p for row in encoded.rows] == [1.0]
    assert encoded.left_out == {"tie without soft labels": 1}
    assert [row.p for row in encode_pairs(TOKENIZER, pairs, DPOConfig()).rows] == [0.6, 0.5]


def test_both_responses_follow_the_same_prompt() -> None:
    (row,) = encode_pairs(TOKENIZER, [pair("Yes.", "No, thanks.")], DPOConfig()).rows
    assert row.length == len(row.prompt) + len(row.rejected)
    assert row.tokens == 2 * len(row.prompt) + len(row.chosen) + len(row.rejected)
    assert row.chosen[-1] == row.rejected[-1] == END


def test_nothing_usable_is_an_error_that_counts_the_reasons() -> None:
    with pytest.raises(TrainingError, match="the input was empty"):
        encode_examples(TOKENIZER, [], SFTConfig())
    same = replace(pair("Yes.", "No."), rejected="Yes.")
    with pytest.raises(TrainingError, match="identical responses: 3"):
        encode_pairs(TOKENIZER, [same] * 3, DPOConfig())


def test_the_advice_fits_the_reason() -> None:
    tie = pair("Yes.", "No.", p=0.5)
    with pytest.raises(TrainingError, match=r"the reward model \(tie without .*: 2\)\. .*soft: true"):
        encode_pairs(TOKENIZER, [tie] * 2, RewardModelConfig(soft=False), "reward")
    with pytest.raises(TrainingError, match=r"for DPO \(margin .*\)\. Lower min_margin"):
        encode_pairs(TOKENIZER, [tie], DPOConfig(min_margin=0.1))
    with pytest.raises(TrainingError, match=r"\(too long: 1\)\. Raise max_length"):
        encode_examples(TOKENIZER, [Example(prompt(0), "Yes. " * 400)], SFTConfig(max_length=200))
