"""What can be known of a checkpoint folder without loading it, or torch: size, context, identity."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from cai.engines.weight_files import parameter_count, serve_it, weight_files
from cai.run.sealed import file_hash, require_whole
from cai.values.errors import UsageError

DtypeName = Literal["float32", "bfloat16", "float16"]

# Models below this size run in float32 on a CPU: it costs little there, and answers then do not
# depend on what else is in the batch.
SMALL = 50_000_000
# What transformers and vLLM read besides the weights goes by dozens of names (vocab.json, merges.txt,
# spiece.model, tekken.json, a shard index, …): every file of these kinds counts, save the records below.
SETTINGS = (
    *("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.tokenizer", "*.codes", "*.bpe", "*.spm"),
    *("tokenizer.model.*", "adapter_model.bin", "additional_chat_templates/*.jinja"),
)
# Read by nobody who answers: what trainers and people note about a checkpoint. ``training.json`` is cai's.
RECORDS = frozenset(
    {"training.json", "trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"}
    | {"modelcard.json", "README.txt", "LICENSE.txt", "NOTICE.txt", "requirements.txt"}
)
# A configuration's names for its context; the first five come first: journals of runs made before rest on it.
LENGTHS = (
    *("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"),
    *("model_max_length", "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"),
)
# These come first, in this order: journals of runs made before rest on it.
_FIRST = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "adapter_config.json",
)


def model_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's config.json.

    Raises:
        UsageError: there is none, or it is not JSON.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (folder / "adapter_config.json").is_file():
            raise UsageError(merge_first(folder)) from None
        if gguf := sorted(folder.glob("*.gguf")):
            raise UsageError(serve_it(gguf[0])) from None
        raise UsageError(
            f"{folder} is not a model: it has no config.json. Give a folder written by save_pretrained."
        ) from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{folder / 'config.json'} cannot be read: {error}") from error
    return config


def merge_first(adapter: Path) -> str:
    """What to do with the folder of a LoRA adapter, which is no model by itself."""
    try:
        found = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        base = str(found.get("base_model_name_or_path") or "its base model")
    except (OSError, ValueError, AttributeError):
        base = "its base model"
    return (
        f"{adapter} is a LoRA adapter of {base}, not a model (in a checkpoint of cai's own, the folder above "
        'it is the merged model). Merge it and name the merged folder: python -c "from peft import '
        f"AutoPeftModelForCausalLM as M; M.from_pretrained('{adapter}').merge_and_unload()"
        f".save_pretrained('{adapter}-merged')\", and copy the base model's tokenizer files into it."
    )


def context_length(folder: Path, max_model_len: int | None = None) -> int:
    """Tokens of prompt plus answer that the model takes, at most ``max_model_len`` when that is given."""
    config = _text_config(folder)
    for key in LENGTHS:
        if isinstance(config.get(key), int):
            own = int(config[key])
            return min(own, max_model_len) if max_model_len else own
    return max_model_len or 2048


def cache_bytes_per_token(folder: Path, dtype: DtypeName) -> int:
    """Bytes of keys and values that one token of one row takes; an upper bound where layers differ."""
    config = _text_config(folder)
    layers = config.get("num_hidden_layers") or config.get("n_layer") or 32
    attending = config.get("num_attention_heads") or config.get("n_head") or 32
    heads = config.get("num_key_value_heads") or attending
    hidden = config.get("hidden_size") or config.get("n_embd") or 4096
    width = config.get("head_dim") or hidden // attending
    return int(2 * layers * heads * width * (4 if dtype == "float32" else 2))


def stop_token_ids(folder: Path) -> set[int]:
    """Tokens at which the checkpoint's own configuration says that generation ends.

    Raises:
        UsageError: a file says so in a way that nobody reads.
    """
    found: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        try:
            value = (
                json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
            )
        except (OSError, ValueError, AttributeError) as error:
            raise UsageError(f"{path} cannot be read: {error}. Correct it, or delete the file.") from error
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if any(type(token) is not int for token in ids):
            raise UsageError(f"{path}: eos_token_id is {value!r}, and must be a number or a list of numbers.")
        found.update(ids)
    return found


def _text_config(folder: Path) -> dict[str, Any]:
    """config.json, with the language model's part of a model of several kinds of input on top."""
    config = model_config(folder)
    return {**config, **config.get("text_config", {})}


def resolve_dtype(wanted: str, folder: Path, gpu: bool) -> DtypeName:
    """The number format to run in.

    "auto" is the checkpoint's own on a GPU. On a CPU it is float32 below 50M weights, and above that
    bfloat16 where the processor computes in it, else float32.
    """
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    if gpu:
        config = model_config(folder)
        own = config.get("dtype") or config.get("torch_dtype")
        return own if own in ("float32", "bfloat16", "float16") else "bfloat16"
    return "bfloat16" if parameter_count(folder) >= SMALL and cpu_has_bfloat16() else "float32"


def has_gpu() -> bool:
    """Whether torch will find a CUDA GPU, told without importing torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return False
    if not Path("/dev/nvidiactl").exists():
        return False
    try:
        return "+cpu" not in importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False


@lru_cache(maxsize=1)
def cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def setting_files(folder: Path) -> list[Path]:
    """Every file besides the weights that shapes an answer: configuration, tokenizer, templates, shard index.

    Also what nobody may read, such as a user's own .json: to ask again costs less than an answer of another
    vocabulary.
    """
    found = {path for pattern in SETTINGS for path in folder.glob(pattern) if path.is_file()}
    first = [folder / name for name in _FIRST]
    rest = sorted(path for path in found.difference(first) if path.name not in RECORDS)
    return [*(path for path in first if path in found), *rest]


def content_hash(folder: Path) -> str:
    """SHA-256 over weights, configuration, tokenizer and chat templates of a checkpoint.

    Raises:
        CaiError: it is a checkpoint of ours whose files are not what its training wrote.
    """
    require_whole(folder)
    total = hashlib.sha256()
    for path in [*weight_files(folder), *setting_files(folder)]:
        total.update(f"{path.relative_to(folder).as_posix()}\n{file_hash(path)}\n".encode())
    return total.hexdigest()
