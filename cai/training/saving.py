"""Saving a model so that others load it and stop where cai stops, and proving beforehand that it can be done.

    prove(model, tokenizer, "checkpoints/sft", workspace, say)   # before the first update
    save(model, tokenizer, folder)                               # the finished folder

transformers refuses to write a generation_config.json that it reads without a word, such as one with a
temperature and no ``do_sample``, as older chat models shipped it. What such a file says is mended so that it
means the same. Its ``eos_token_id`` and that of config.json become what cai stops at: the template's end of a
turn, the tokenizer's end of text, and what the base model's own files name.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cai.chat.encoding import end_ids
from cai.chat.saved import save_tokenizer
from cai.engines.model_files import stop_token_ids
from cai.training.checkpoint import Workspace
from cai.training.result import Say
from cai.values.errors import TrainingError

_FILE = "generation_config.json"
# What is read only while sampling, with the value that says nothing; with beams; with a cache; by name.
_SAMPLING = {
    "temperature": 1.0, "top_p": 1.0, "min_p": None, "top_h": None, "typical_p": 1.0, "top_k": 50,
    "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
}  # fmt: skip
_BEAMS = {"early_stopping": False, "length_penalty": 1.0}
_CACHE = {"cache_implementation": None, "cache_config": None}
_OUTPUTS = dict.fromkeys(
    ("output_attentions", "output_hidden_states", "output_scores", "output_logits"), False
)


def require_generation_config(model_path: str) -> None:
    """Raise TrainingError where the model's generation_config.json is one that transformers does not take.

    Raises:
        UsageError: it, or config.json, names ends that are no token ids.
    """
    from transformers import GenerationConfig

    file = Path(model_path) / _FILE
    if not file.is_file():
        return
    try:
        GenerationConfig.from_pretrained(model_path, trust_remote_code=False)
    except Exception as error:  # no JSON, a value that is out of range, a name that it does not know …
        raise TrainingError(
            f"{file} cannot be used: {str(error).strip()} Correct it there, or delete the file: "
            "transformers then takes its defaults."
        ) from error
    stop_token_ids(file.parent)


def prove(
    model: Any, tokenizer: Any, name: str, workspace: Workspace, say: Say, *, write: bool = True
) -> None:
    """Save ``model`` as it is, with all that goes beside it, and delete that at once; ``say`` what is mended.

    Without ``write`` (all processes but the first) it is only mended. ``name`` is the folder that it was
    loaded from.

    Raises:
        TrainingError: it cannot be saved; says which file is at fault and what to do.
    """
    mended = settle(model, tokenizer, name)
    if not write:
        return
    if mended:
        say(f"{_FILE} of {name}: saved with {', '.join(mended)}, without which transformers does not save it")
    folder = workspace.fresh("proof")
    try:
        save(model, tokenizer, folder)
    except TrainingError:
        raise
    except Exception as error:  # whatever a library raises, now rather than after the last update
        disk = isinstance(error, OSError) and error.errno is not None
        if disk or "I/O error" in str(error):  # the latter is safetensors' word for it: no fault of the model
            raise
        raise TrainingError(
            f"a model trained from {name} could not be saved, so nothing is trained: "
            f"{type(error).__name__}: {error}. Mend the files of {name} that this names."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # there is other unfinished work
            workspace.partial.rmdir()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Weights, configuration, tokenizer and template, in the precision in which ``model`` is."""
    if hasattr(model, "peft_config"):
        model.save_pretrained(folder / "adapter")
        return
    settle(model, tokenizer, str(folder))  # trainers align end tokens in their own way
    cached, model.config.use_cache = getattr(model.config, "use_cache", True), True
    try:
        model.save_pretrained(folder)
    finally:
        model.config.use_cache = cached
    save_tokenizer(tokenizer, folder)


def settle(model: Any, tokenizer: Any, name: str) -> list[str]:
    """Make ``model``'s generation settings ones that can be saved, and its ends those of cai.

    Returns what was mended, in words.

    Raises:
        TrainingError: they hold what cannot be mended.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    for config in (plain.config, plain.config.get_text_config()):
        # TRL turns it on for its auxiliary loss; a checkpoint that says so cannot be run in padded batches.
        if getattr(config, "output_router_logits", False):
            config.output_router_logits = False
    generation = getattr(plain, "generation_config", None)
    if generation is None:  # a reward model writes nothing
        return []
    mended = _mend(generation)
    try:
        generation.validate(strict=True)
    except ValueError as error:
        raise TrainingError(
            f"{Path(name) / _FILE} could not be saved with the trained model: {error} "
            "Correct it there, or delete the file: transformers then takes its defaults."
        ) from error
    _set_ends(plain, generation, tokenizer)
    return mended


def _mend(generation: Any) -> list[str]:
    """Change what contradicts itself, so that it means the same. → what was changed, in words."""
    mended: dict[str, Any] = {}
    sampling = _said(generation, _SAMPLING)
    if generation.temperature == 0:  # a way to say that it does not sample
        mended["do_sample"] = generation.do_sample = False
    elif sampling and generation.do_sample is None:
        mended["do_sample"] = generation.do_sample = True  # whoever gives a temperature means to sample
    unread = [] if generation.do_sample else sampling
    unread += _said(generation, _BEAMS) if generation.num_beams in (None, 1) else []
    unread += _said(generation, _CACHE) if generation.use_cache is False else []
    unread += [] if generation.return_dict_in_generate else _said(generation, _OUTPUTS)
    unread += ["pad_token_id"] if (generation.pad_token_id or 0) < 0 else []
    for name in unread:
        mended[name] = None
        setattr(generation, name, None)
    return [f"{name}={value}" for name, value in mended.items()]


def _said(generation: Any, names: Mapping[str, Any]) -> list[str]:
    """Which of ``names`` have a value that says something."""
    return [name for name, none in names.items() if getattr(generation, name, None) not in (None, none)]


def _set_ends(model: Any, generation: Any, tokenizer: Any) -> None:
    """The same ends in both files, the template's first."""
    configs = [model.config, model.config.get_text_config()]
    ends = list(end_ids(tokenizer))
    for holder in (generation, *configs):
        named = getattr(holder, "eos_token_id", None)
        ends += named if isinstance(named, list | tuple) else [] if named is None else [named]
    ends = [token for token in dict.fromkeys(ends) if token >= 0]
    if not ends:
        return
    value = ends[0] if len(ends) == 1 else ends
    for holder in (generation, *configs):
        if holder is generation or hasattr(holder, "eos_token_id"):
            holder.eos_token_id = value
    if generation.pad_token_id is None:
        generation.pad_token_id = tokenizer.pad_token_id
