"""A text classifier and one of its labels: how toxic a text is, say.

    classifier = TextClassifier("folder", ("toxic", "hate"))
    found = await classifier.probabilities(["You are an idiot."])          # P(label | text), None: too long

Any sequence-classification checkpoint. Several labels share one softmax, unless its config.json says
``problem_type: multi_label_classification``; one label is a sigmoid. It runs in float32, so that a figure
does not depend on what else is in the batch. Code from the hub is never run. B texts, T tokens, K labels.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cai.engines.model_files import context_length, has_gpu, model_config
from cai.run.threads import apart
from cai.values.errors import UsageError
from cai.values.words import one_of

MAX_TOKENS = {"cpu": 8192, "cuda": 131072}  # of one forward pass, padding counted


class TextClassifier:
    """P(label) of texts. The model is loaded at the first question."""

    def __init__(self, folder: str | Path, names: Sequence[str], label: str | None = None) -> None:
        """``names``: what the label may be called, the likeliest first; ``label`` says it outright.

        Raises:
            UsageError: the folder holds no classifier, or none of its labels is meant.
        """
        self._folder = Path(folder)
        config = model_config(self._folder)
        self.labels = _labels(self._folder, config)
        self.index = _index(self._folder, self.labels, names, label)
        self._apart = config.get("problem_type") == "multi_label_classification" or len(self.labels) == 1
        self._device = "cuda" if has_gpu() else "cpu"
        self._loaded: tuple[Any, Any] | None = None

    async def probabilities(self, texts: Sequence[str]) -> list[float | None]:
        """P(label) in the order of ``texts``; None where one is longer than the model's context.

        Raises:
            UsageError: the model or its tokenizer cannot be used.
        """
        return await apart(self._probabilities, list(texts))

    async def close(self) -> None:
        """Free the model's memory."""
        self._loaded = None
        gc.collect()

    def _probabilities(self, texts: Sequence[str]) -> list[float | None]:
        from cai.rewards.model import load_classifier, of_similar_length

        if self._loaded is None:
            model, tokenizer = load_classifier(self._folder, "float32", "classifier")
            self._loaded = model.to(self._device), tokenizer
        tokenizer = self._loaded[1]
        longest = min(context_length(self._folder), tokenizer.model_max_length)
        encoded = {index: tokenizer(text)["input_ids"] for index, text in enumerate(texts)}
        rows = {index: ids for index, ids in encoded.items() if 0 < len(ids) <= longest}
        found: list[float | None] = [None] * len(texts)
        for batch in of_similar_length(rows, MAX_TOKENS[self._device]):
            for index, value in zip(batch, self._forward([rows[i] for i in batch]), strict=True):
                found[index] = value
        return found

    def _forward(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """(B, T) ragged → (B,)."""
        import torch

        assert self._loaded is not None
        model, tokenizer = self._loaded
        width = max(map(len, rows))
        pad = next((i for i in (model.config.pad_token_id, tokenizer.pad_token_id) if i is not None), 0)
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=self._device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self._device)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=real).logits.double()  # (B, K)
        shares = logits.sigmoid() if self._apart else logits.softmax(dim=-1)
        values: list[float] = shares[:, self.index].tolist()
        return values


def _labels(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """The labels in the order of the model's outputs."""
    names = config.get("architectures") or []
    if not any(name.endswith("ForSequenceClassification") for name in names):
        raise UsageError(
            f"{folder} is no text classifier ({', '.join(names) or 'of no named architecture'}): "
            "name a sequence-classification model"
        )
    named = config.get("id2label")
    if not named:
        return [f"LABEL_{index}" for index in range(int(config.get("num_labels", 2)))]
    return [str(named[key]) for key in sorted(named, key=int)]


def _index(folder: Path, labels: Sequence[str], names: Sequence[str], label: str | None) -> int:
    plain = [_plain(name) for name in labels]
    if label is not None:
        if _plain(label) in plain:
            return plain.index(_plain(label))
        raise UsageError(f"{folder} has no label {label!r}; it has {one_of(list(labels), 'and')}")
    for name in names:
        if name in plain:
            return plain.index(name)
    if len(labels) == 1:
        return 0
    if plain == ["label0", "label1"]:  # nobody named them: the second is the finding, as is usual
        return 1
    raise UsageError(
        f"{folder}: which of its labels is meant? It has {one_of(list(labels), 'and')}; name one "
        "(evaluate.toxicity_label)"
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
