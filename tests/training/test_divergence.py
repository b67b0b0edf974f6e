"""KL by log-probabilities under two checkpoints, against one plain forward pass for every answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from cai.training.divergence import log_ratios
from cai.values.types import Message, Prompt, Response


def answer(number: int, text: str, finish: str = "stop") -> Response:
    prompt = Prompt(f"p{number}", (Message("user", f"Question {number}" + " please" * number),))
    return Response(prompt, text, "length" if finish == "length" else "stop")


ANSWERS = [
    answer(0, "Yes."),
    answer(1, "No, and here is why: it is rude and wrong."),
    answer(2, "Hello world"),
    answer(3, "Hello wor", "length"),
    answer(4, "", "length"),  # nothing was drawn: nothing to compare
]


def moved(model: Path, out: Path) -> Path:
    """The model with every weight changed a little."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, out)
    draw = torch.Generator().manual_seed(0)
    weights = load_file(out / "model.safetensors")
    changed = {name: w + 0.02 * torch.randn(w.shape, generator=draw) for name, w in weights.items()}
    save_file(changed, out / "model.safetensors", metadata={"format": "pt"})
    return out


def plain(folder: Path, one: Response) -> float:
    """Σ log P of the answer's tokens and, unless it was cut off, of the token that ends the turn."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    turns = [{"role": "user", "content": one.prompt.messages[0].content}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    said = tokenizer(one.text, add_special_tokens=False)["input_ids"]
    end = [] if one.finish == "length" else [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    ids = torch.tensor([prompt + said + end])
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0].log_softmax(-1)
    return sum(float(logprobs[i - 1, ids[0, i]]) for i in range(len(prompt), ids.shape[1]))


@pytest.mark.slow
def test_log_ratios(tiny_model: Path, tmp_path: Path) -> None:
    other = moved(tiny_model, tmp_path / "other")
    found = log_ratios(other, tiny_model, ANSWERS)
    assert found[-1] is None
    for one, ratio in zip(ANSWERS[:-1], found[:-1], strict=True):
        assert ratio == pytest.approx(plain(other, one) - plain(tiny_model, one), abs=1e-4)
        assert abs(ratio) > 1e-2
    assert log_ratios(tiny_model, tiny_model, ANSWERS) == [0.0, 0.0, 0.0, 0.0, None]
