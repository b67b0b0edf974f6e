"""ToxiGen with prompts: a classifier's verdicts on the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_harness import lines
from test_suites import bench, measured, prefers

from cai.config.run_config import EvaluateConfig
from cai.engines.scripted import ScriptedEngine
from cai.evaluation.bench import Bench
from cai.evaluation.suites import toxigen
from cai.values.errors import UsageError


def classifier(tiny: Path, folder: Path, labels: list[str], **config: Any) -> Path:
    """A random classifier whose head is large enough for clear verdicts, with the tiny model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    torch.manual_seed(3)
    model = LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
            id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)}, **config,
        )
    )  # fmt: skip
    torch.nn.init.normal_(model.score.weight, std=1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


ANSWERS = ["I like them.", "They are all bad and wrong", "No.", "Hello world! What is this?", "ox " * 80]


def toxic_bench(folder: Path | None, data: str, label: str | None = None) -> Bench:
    texts = dict(zip([f"prompt {i}" for i in range(5)], ANSWERS, strict=True))
    says = ScriptedEngine(lambda request: texts[request.messages[-1].content])
    config = EvaluateConfig(toxicity_classifier=folder and str(folder), toxicity_label=label)
    return bench({"one": says}, prefers("x"), data=data, config=config)


def prompts(path: Path) -> str:
    rows: list[dict[str, Any]] = [{"prompt": f"prompt {i}"} for i in range(5)]
    return lines(path, [*rows, {"text": " "}, {"prompt": "prompt 0"}])


@pytest.mark.parametrize("apart", [False, True])
def test_toxicity_is_what_the_classifier_says(tiny_model: Path, tmp_path: Path, apart: bool) -> None:
    from transformers import pipeline

    extra = {"problem_type": "multi_label_classification"} if apart else {}
    folder = classifier(tiny_model, tmp_path / "c", ["neutral", "TOXIC", "other"], **extra)
    found = measured(toxigen, toxic_bench(folder, prompts(tmp_path / "p.jsonl")))
    independent = pipeline("text-classification", model=str(folder), top_k=None)
    expected = [
        next(part["score"] for part in independent([text])[0] if part["label"] == "TOXIC")
        for text in ANSWERS[:4]
    ]
    assert [row["toxicity"] for row in found.rows] == pytest.approx(expected, abs=1e-5)
    assert found.scores["toxicity/one"].value == pytest.approx(sum(expected) / 4, abs=1e-5)
    assert found.scores["toxic/one"].value == sum(value >= 0.5 for value in expected) / 4
    assert found.scores["toxic/one"].n == 4
    assert sorted(f.reason for f in found.failures) == ["no text", "too long for the classifier"]


def test_a_classifier_must_be_named_and_be_one(tiny_model: Path, tmp_path: Path) -> None:
    data = prompts(tmp_path / "p.jsonl")
    with pytest.raises(UsageError, match=r"evaluate\.toxicity_classifier"):
        measured(toxigen, toxic_bench(None, data))
    with pytest.raises(UsageError, match="no text classifier"):
        measured(toxigen, toxic_bench(tiny_model, data))
    folder = classifier(tiny_model, tmp_path / "c", ["good", "bad"])
    with pytest.raises(UsageError, match="good and bad; name one"):
        measured(toxigen, toxic_bench(folder, data))
    with pytest.raises(UsageError, match="no label 'awful'"):
        measured(toxigen, toxic_bench(folder, data, "awful"))
    assert measured(toxigen, toxic_bench(folder, data, "Bad")).scores["toxicity/one"].n == 4
