"""What training writes is what vLLM serves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from training_rows import examples

from cai.config.train_config import LoraConfig, SFTConfig
from cai.training.sft import train_sft

CODE = """
import sys
from vllm import LLM, SamplingParams
llm = LLM(sys.argv[1], enforce_eager=True, max_model_len=256, dtype="float32", enable_chunked_prefill=False,
          block_size=32)
out = llm.generate([{"prompt_token_ids": [20, 30, 40]}], SamplingParams(max_tokens=3, temperature=0))
print("TOKENS", list(out[0].outputs[0].token_ids))
"""


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_loads_a_merged_lora_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    import torch
    from transformers import AutoModelForCausalLM

    config = SFTConfig(learning_rate=1e-2, batch_size=8, micro_batch_size=4, lora=LoraConfig(r=4))
    result = train_sft(tiny_model, examples(), config, tmp_path / "out", 0)
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "TORCH_COMPILE_DISABLE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(result.path)],
        check=False, capture_output=True, text=True, env={**os.environ, **settings},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    model = AutoModelForCausalLM.from_pretrained(result.path)
    ids = model.generate(torch.tensor([[20, 30, 40]]), max_new_tokens=3, do_sample=False)[0, 3:].tolist()
    assert f"TOKENS {ids}" in done.stdout
