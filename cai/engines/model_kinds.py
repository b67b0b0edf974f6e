"""What kind of model a checkpoint is, by its files: one that answers, one that can be trained, or neither.

A library that is asked for a language model makes one of nearly anything: of an embedding model or a reward
model with an output layer drawn at random, of an encoder one that sees the words it is to guess. Here each is
refused by what it is, before anything is loaded. ``local/causal.py`` looks at the weights themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cai.engines.model_files import merge_first, model_config
from cai.values.errors import UsageError

#: Endings of the class that a checkpoint was saved from, and what such a checkpoint is. The first that fits.
CLASSES = {
    "ForSequenceClassification": "a classifier or reward model",
    "ForTokenClassification": "a classifier of tokens",
    "ForQuestionAnswering": "a finder of passages",
    "ForMultipleChoice": "a classifier of choices",
    "ForNextSentencePrediction": "a classifier of sentences",
    "ForMaskedLM": "an encoder, which fills gaps",
    "ForImageClassification": "a classifier of pictures",
    "LMHeadModel": "",
    "DoubleHeadsModel": "",
    "Model": "a model without an output layer, as embedding models are",
}
#: Quantized weights that transformers turns back into plain ones where it has no kernel for them.
PLAIN_AGAIN = {"mxfp4", "fp8"}


def require_answers(folder: Path) -> None:
    """Refuse a checkpoint that is no decoder-only language model, or only a part of one.

    Raises:
        UsageError: says what it is, and what to name instead.
    """
    config = model_config(folder)
    if (folder / "adapter_config.json").is_file():
        raise UsageError(merge_first(folder))
    saved_as = str(next(iter(config.get("architectures") or ()), ""))
    what = next((what for ending, what in CLASSES.items() if saved_as.endswith(ending)), "")
    if config.get("is_encoder_decoder"):
        what = "an encoder with a decoder, as translators are"
    if what:
        raise UsageError(
            f"{folder} is {what} ({saved_as or config.get('model_type')}), and answers come from a "
            "decoder-only language model (…ForCausalLM). Name one."
        )


def require_in_transformers(folder: Path) -> None:
    """Refuse what transformers has no language model of text alone for. Imports torch where that is in doubt.

    Raises:
        UsageError: as above, also of an architecture that transformers does not know.
    """
    config = model_config(folder)
    saved_as = str(next(iter(config.get("architectures") or ()), ""))
    if saved_as.endswith(("ForCausalLM", "LMHeadModel")) and "auto_map" not in config:
        return
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if kind in CONFIG_MAPPING:
        why = "which transformers does not load as a language model of text alone"
    elif "auto_map" in config:
        why = "whose code comes with it, and cai never runs code that comes with a model"
    else:
        why = "which the installed transformers does not know"
    raise UsageError(
        f"{folder} is a {kind} ({saved_as}), {why}. As critic, labeler or judge it can answer from a server "
        "(vllm serve, then engine: openai); name another model to be trained."
    )


def require_trainable(folder: Path) -> None:
    """Refuse a policy of quantized weights, which no update changes.

    Raises:
        UsageError: says how they are quantized.
    """
    method = quantized(model_config(folder))
    if method and method not in PLAIN_AGAIN:
        raise UsageError(
            f"{folder} has quantized weights ({method}), and these cannot be trained. Name the model that it "
            "was made from; as critic, labeler or judge the quantized one can be used."
        )


def quantized(config: dict[str, Any]) -> str:
    """By which method the weights are quantized; empty where they are not."""
    found = config.get("quantization_config")
    return str(found.get("quant_method") or "of an unnamed method") if isinstance(found, dict) else ""
