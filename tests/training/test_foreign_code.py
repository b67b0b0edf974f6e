"""A base model that brings code: it is neither run nor asked about, and the message says so."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from cai.training.reward_model import _load_model
from cai.training.rl.actors import _reward_critic
from cai.training.updates.loop import load_language_model, load_tokenizer, stored_dtype
from cai.values.errors import TrainingError

CODE = """
from pathlib import Path
Path(__file__).with_name("RAN").touch()
raise RuntimeError("it ran")
"""


@pytest.fixture
def bringing_code(tiny_model: Path, tmp_path: Path) -> Path:
    """A model of a kind that transformers does not know, with files that do."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "own.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    names = ("AutoModelForCausalLM", "AutoModelForSequenceClassification")
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config"} | dict.fromkeys(names, "own.Model"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.mark.parametrize(
    "load",
    [load_language_model, load_tokenizer, stored_dtype, _reward_critic, lambda path: _load_model(path, 0)],
)
def test_it_is_not_run(
    load: Callable[[str], Any], bringing_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("y\n" * 9))
    with pytest.raises(TrainingError, match=str(bringing_code)):
        load(str(bringing_code))
    assert not list(bringing_code.parent.rglob("RAN"))
    assert sys.stdin.read() == "y\n" * 9  # nobody asked


def test_the_message_says_why(bringing_code: Path) -> None:
    with pytest.raises(TrainingError, match="cai never runs code that comes with a model"):
        load_language_model(str(bringing_code))


@pytest.mark.parametrize("load", [load_language_model, lambda path: _load_model(path, 0)])
def test_a_broken_file_is_named(load: Callable[[str], Any], tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError, match=f"the model in {folder} cannot be loaded"):
        load(str(folder))
