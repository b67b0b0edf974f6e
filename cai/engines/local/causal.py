"""Loading a model with transformers so that all of its weights are the checkpoint's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cai.chat.tokenizer_files import require_room
from cai.values.errors import UsageError


def load_causal(folder: str | Path, dtype: Any, **more: Any) -> Any:
    """The model in ``folder``, in ``dtype`` (torch's). Weights that a file lacks would be drawn at random.

    ``more``: of ``from_pretrained``: where to, and in how many bits.

    Raises:
        UsageError: it lacks some, or has them in other shapes than its configuration says.
        Exception: whatever transformers raises over a file that it cannot read.
    """
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    model, loaded = loader.from_pretrained(
        folder,
        dtype=dtype,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused here, by their names
        **more,
    )
    require_whole(model, loaded, folder)
    return model


def require_whole_files(folder: Path, tokenizer: Any) -> None:
    """What ``load_causal`` requires, by the files' headers alone: vLLM leaves out what a checkpoint lacks.

    Raises:
        UsageError: as ``load_causal``, and where ``tokenizer`` has more tokens than the model.
    """
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    try:
        model, loaded = loader.from_pretrained(
            folder,
            device_map="meta",
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception:  # what transformers does not load at all, vLLM may know
        return
    require_whole(model, loaded, folder)
    require_room(tokenizer, int(model.get_input_embeddings().weight.shape[0]), folder)


def require_whole(model: Any, loaded: dict[str, Any], folder: str | Path, drawn: str = "") -> None:
    """That ``model`` has every weight from its files; ``loaded`` is what transformers reports of loading it.

    ``drawn``: the layer that a new model has at random, and is to have.

    Raises:
        UsageError: as ``load_causal``.
    """
    if absent := sorted(name for name in loaded["missing_keys"] if name.partition(".")[0] != drawn):
        raise UsageError(
            f"{folder} lacks {len(absent)} of the weights of a {type(model).__name__} ({_some(absent)}), "
            "which would be random numbers. Fetch or save the whole model again."
        )
    if other := [name for name, *_ in sorted(loaded["mismatched_keys"])]:
        raise UsageError(
            f"{folder} has {len(other)} weights in other shapes than its config.json says ({_some(other)}): "
            "the two are of different models. Put the weights' own config.json beside them."
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", …" if len(names) > 2 else "")
