"""What docs/compatibility.md says of some families is so: one of each kind; vLLM's cells of two."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import compatibility
from benchmarks.compatibility import COLUMNS, Case, cell, tiny_families

# dense, latent experts with a thought, channels, a hybrid, and Metaspace without a system role
FAMILIES = ["qwen3", "deepseek_v3", "gpt_oss", "lfm2", "gemma2"]
HERE = [heading for heading in COLUMNS if "vLLM" not in heading and heading not in compatibility.VLLM]


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(tiny_families, "tokenizer", tiny_families.tokenizer)  # a case puts its own there
    return Case(request.param, tmp_path)


def good(words: str) -> bool:
    return words.startswith("yes") or words in ("no thought", "not in transformers")


@pytest.mark.slow
@pytest.mark.parametrize("case", FAMILIES, indirect=True)
def test_every_cell_is_yes(case: Case) -> None:
    cells = {heading: cell(COLUMNS[heading], case) for heading in HERE}
    assert all(map(good, cells.values())), cells


def test_a_refusal_is_told_from_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_families, "tokenizer", tiny_families.tokenizer)
    case = Case("mamba", tmp_path)
    words = cell(COLUMNS["LoRA"], case)
    assert words.startswith("LoRA on all-linear can't be put on") and "target_modules: [dt_proj" in words

    def broken(case: Case) -> str:
        raise KeyError("layers.0")

    assert cell(broken, case).startswith("WRONG: KeyError")


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM")
@pytest.mark.parametrize("case", ["qwen3_moe", "phi3"], indirect=True)
def test_vllm_computes_what_transformers_computes(case: Case) -> None:
    for heading in ("vLLM = transformers", "sampler follows"):
        assert cell(COLUMNS[heading], case) == "yes"


@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM")
@pytest.mark.parametrize("case", ["gpt_neox"], indirect=True)
def test_what_vllm_computes_otherwise_is_refused_by_name(case: Case) -> None:
    with pytest.raises(Exception, match=r"gpt_neox.*output layer.*engine: transformers"):
        compatibility._asked(case.folder, "vllm")
