"""The same request alone and in a batch gives the same answer, for every family that transformers loads.

Rows are ragged and begin alike, windows and chunks are shorter than they are. The definition is a plain
forward pass over one row: no batch, no padding, no cache.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import contextmanager

import pytest
import tiny_families
import torch
from family_gaps import ALIKE, BEGINNING, CLOSE, UNLIKE, engine_gap, logits_gap, tokens
from tiny_families import FAMILIES

from cai.config.run_config import ModelConfig
from cai.engines.backend import open_engine
from cai.engines.local.forward import CausalModel, common_length
from cai.engines.local.layouts import LAYOUTS, Layout
from cai.engines.samplers.sampler_transformers import TransformersSampler
from cai.values.errors import EngineError
from cai.values.types import CompletionRequest, Message, Sampling

WITHOUT_PADDING = {
    "falcon_mamba": Layout.EQUAL,
    "mamba": Layout.EQUAL,
    "minimax": Layout.ANEW,
    "openai-gpt": Layout.ANEW,
    "recurrent_gemma": Layout.ANEW,
    "rwkv": Layout.ANEW,
    "xlstm": Layout.ANEW,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for models so small, several cost more than they give
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_in_a_batch_are_those_of_the_row_alone(name):
    model = CausalModel(tiny_families.build(name))
    expected = WITHOUT_PADDING.get(name)
    assert model.layout is expected if expected else model.layout.pads
    with torch.inference_mode():
        assert logits_gap(model, ALIKE) < CLOSE
        assert logits_gap(model, UNLIKE) < CLOSE


@pytest.mark.parametrize("name", FAMILIES)
async def test_answers_in_a_batch_are_those_of_the_request_alone(name, tmp_path, monkeypatch):
    monkeypatch.setattr(gc, "collect", int)  # closing a model this small need not look through everything
    gap, differ = await engine_gap(tiny_families.save(name, tmp_path))
    assert gap < CLOSE
    assert not differ


@pytest.mark.parametrize("border", [44, 55, 64])
def test_rotary_angles_that_change_beyond_a_length_change_row_by_row(border):
    """Rows of both kinds in one batch, and rows that pass the border while they grow."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [7.0] * 4, "rope_theta": 1e4}
    with tiny_families.changed("phi3", rope_parameters=rope, original_max_position_embeddings=border):
        model = CausalModel(tiny_families.build("phi3"))
    with torch.inference_mode():
        row = torch.tensor([UNLIKE[4]])
        assert (model.model(row[:, :border]).logits - model.model(row).logits[:, :border]).abs().max() > 0.1
        assert logits_gap(model, ALIKE) < CLOSE
        assert logits_gap(model, UNLIKE) < CLOSE


def test_what_is_listed_is_measured():
    assert set(LAYOUTS) <= {kind for kind, _ in FAMILIES.values()}


@contextmanager
def counting(model):
    """Counts the tokens that pass through the model, padding among them."""
    passed = []
    handle = model.get_input_embeddings().register_forward_pre_hook(
        lambda module, args: passed.append(args[0].numel())
    )
    yield passed
    handle.remove()


@pytest.mark.parametrize("name", ["llama", "phi3", "mpt", "gemma3", "qwen3_moe"])
def test_a_shared_beginning_is_run_once(name):
    model = CausalModel(tiny_families.build(name))
    rows = [BEGINNING * 4 + tokens(count) for count in (1, 8, 15, 20) * 4]
    shared = common_length(rows)
    with counting(model.model) as passed, torch.inference_mode():
        model.prompts(rows)
    assert sum(passed) == shared + len(rows) * (max(map(len, rows)) - shared)


@pytest.mark.parametrize("name", ["phi3", "mpt", "lfm2", "qwen3_next", "mamba", "recurrent_gemma"])
def test_a_sampler_draws_what_it_would_draw_alone(name, tmp_path):
    folder = tiny_families.save(name, tmp_path)
    model = tiny_families.build(name)
    sampler = TransformersSampler(model, folder, 128)
    rows, seeds = [*ALIKE, *UNLIKE[:3]], range(8)
    together = sampler.sample(rows, list(seeds), 12, 1.0)
    for row, seed, draw in zip(rows, seeds, together, strict=True):
        assert sampler.sample([row], [seed], 12, 1.0)[0].ids == draw.ids
        with torch.inference_mode():
            logits = model(torch.tensor([[*row, *draw.ids]]), use_cache=False).logits[0, len(row) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(draw.ids)), list(draw.ids)]
        assert draw.logprobs == pytest.approx(expected.tolist(), abs=CLOSE)


def test_ids_without_a_token_are_never_drawn(tmp_path):
    """A vocabulary padded by 3 rows, which the model finds by far the most probable."""
    model = tiny_families.build("phi")
    known = len(tiny_families.tokenizer())
    model.resize_token_embeddings(known + 3, mean_resizing=False)
    model.lm_head.bias[known:] = 20.0
    model.save_pretrained(tmp_path)
    tiny_families.tokenizer().save_pretrained(tmp_path)
    draws = TransformersSampler(model, tmp_path, 128).sample(UNLIKE, range(5), 12, 1.0)
    assert all(draw.ids and max(draw.ids) < known for draw in draws)
    asyncio.run(_read_back(tmp_path))


async def _read_back(folder):
    engine = await open_engine(ModelConfig(name=str(folder), engine="transformers", dtype="float32"))
    for temperature in (0.0, 1.0):
        request = CompletionRequest((Message("user", "Hello"),), Sampling(temperature, max_tokens=12), 1)
        assert (await engine.complete(request)).text
    await engine.close()


async def test_a_model_that_cannot_be_run_is_refused_when_it_is_opened(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("pixel_values are missing")

    monkeypatch.setattr("transformers.LlamaForCausalLM.forward", broken)
    config = ModelConfig(name=str(tiny_families.save("llama", tmp_path)), engine="transformers")
    with pytest.raises(EngineError, match=r"cannot run it .*llama.*pixel_values.*engine: vllm"):
        await open_engine(config)
