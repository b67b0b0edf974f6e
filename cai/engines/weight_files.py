"""The safetensors files of a checkpoint: which they are, whether all are there and whole, what they hold."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from cai.values.errors import UsageError

WEIGHTS = ("*.safetensors",)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint.

    Raises:
        UsageError: there are none (pickled weights are not read).
    """
    found = sorted(path for pattern in WEIGHTS for path in folder.glob(pattern))
    if not found:
        if gguf := sorted(folder.glob("*.gguf")):
            raise UsageError(serve_it(gguf[0]))
        raise UsageError(
            f"{folder} has no *.safetensors file. cai does not read pickled weights (*.bin): "
            "write the model with save_pretrained."
        )
    return found


def require_weights(folder: Path) -> None:
    """That a checkpoint has all its weight files, and all of each, by its index and their own headers.

    Raises:
        UsageError: there are none, one is missing, or one is cut off.
    """
    found = weight_files(folder)
    index = folder / "model.safetensors.index.json"
    if index.is_file() and not (folder / "model.safetensors").is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{index} cannot be read: {error!r}. Fetch the model again.") from error
        if missing := sorted(named.difference(path.name for path in found)):
            raise UsageError(
                f"{folder} lacks {len(missing)} of its {len(named)} weight files ({missing[0]}"
                f"{', …' if missing[1:] else ''}). Fetch the model again."
            )
    for path in found:
        if not path.name.startswith("model"):
            continue  # of another library
        header, begin = _header(path)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        size, wanted = path.stat().st_size, begin + max(ends, default=0)
        if size < wanted:
            raise UsageError(f"{path} is cut off: {size} of {wanted} bytes. Fetch the model again.")


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says that it holds, and where its numbers begin, in bytes.

    Raises:
        UsageError: it is none.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            return dict(json.loads(file.read(min(size, path.stat().st_size)))), 8 + int(size)
    except (OSError, ValueError, TypeError, struct.error) as error:
        raise UsageError(
            f"{path} is no safetensors file, or not a whole one ({error!r}). Fetch the model again; a clone "
            "without Git LFS has pointers of a few lines in their place."
        ) from error


def serve_it(file: Path) -> str:
    """What to do with a model in llama.cpp's format."""
    return (
        f"{file} is in llama.cpp's format (GGUF), which cai does not load. Name the folder of the model that "
        "it was made from (*.safetensors); as critic, labeler or judge the file itself can answer from the "
        "server of llama.cpp or Ollama (engine: openai)."
    )


def tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name → dimensions of every weight, from the headers of the safetensors files."""
    found: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        header, _ = _header(path)
        found |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    return found


def parameter_count(folder: Path) -> int:
    """Number of weights, from the headers of the safetensors files."""
    return sum(map(prod, tensors(folder).values()))
