"""A model's size without loading it: from a folder, from the hub's headers, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import save_tiny_model

from cai.engines.model_shape import measure, shape_of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("shape") / "tiny")


def test_a_folder_s_headers_say_all(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(tiny)
    shape = shape_of(tiny)
    assert shape.weights == sum(weight.numel() for weight in model.parameters())
    assert (shape.layers, shape.hidden, shape.inner, shape.heads) == (2, 64, 128, 2)
    assert (shape.queries, shape.keys, shape.context, shape.tied) == (64, 32, 512, True)
    linear = [m for name, m in model.named_modules() if ".layers." in name and hasattr(m, "in_features")]
    assert shape.adapted == sum(m.in_features + m.out_features for m in linear)
    assert measure(str(tiny)) == shape


def test_the_hub_is_asked_for_headers_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def not_cached(*args: Any, **options: Any) -> str:
        assert options["local_files_only"]
        raise LocalEntryNotFoundError("not in the cache")

    tensors = {"model.embed_tokens.weight": (100, 8), "model.layers.0.mlp.up_proj.weight": (32, 8)}
    files = {
        "model.safetensors": SimpleNamespace(
            tensors={k: SimpleNamespace(shape=list(v)) for k, v in tensors.items()}
        )
    }
    config = {"vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    (tiny.parent / "hub.json").write_text(json.dumps(config))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", not_cached)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **o: str(tiny.parent / "hub.json"))
    monkeypatch.setattr(
        huggingface_hub, "get_safetensors_metadata", lambda *a, **o: SimpleNamespace(files_metadata=files)
    )
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *a, **o: None)
    found = measure("org/some", "main")
    assert found is not None and (found.weights, found.adapted, found.tied) == (1056, 40, True)


@pytest.mark.parametrize("name", ["./nothing-here", "org/unreachable", "a b", ""])
def test_what_cannot_be_had_has_no_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*args: Any, **options: Any) -> Any:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    assert measure(name) is None


def test_a_hub_that_does_not_answer_is_asked_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def away(name: str, **options: Any) -> Any:
        asked.append(name)
        raise ConnectionError("no network")

    def not_cached(*args: Any, **options: Any) -> str:
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", not_cached)
    monkeypatch.setattr(huggingface_hub, "model_info", away)
    assert [measure("org/away"), measure("org/away")] == [None, None]
    assert asked == ["org/away"]


def test_a_broken_folder_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"12")
    assert measure(str(tmp_path)) is None
