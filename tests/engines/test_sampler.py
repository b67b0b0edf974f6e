"""Samplers: their log-probabilities are the model's own, seeds decide, and vLLM follows the weights."""

from __future__ import annotations

import copy
import random
from importlib.util import find_spec

import pytest
import tiny_families
import torch
from tiny_models import save_tiny_model

from cai.engines.samplers.opening import open_sampler, sampler_name
from cai.values.errors import EngineError, UsageError

needs_vllm = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM")]
KINDS = ["transformers", pytest.param("vllm", marks=needs_vllm)]

_draw = random.Random(4)
PROMPTS = [[_draw.randrange(20, 300) for _ in range(size)] for size in (3, 31, 8, 17, 8, 64, 5, 40)]
SEEDS = [10 * i for i in range(len(PROMPTS))]


def load(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def with_adapter(folder):
    """A model with a policy adapter that changes it, and a second one that is switched on."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear")
    torch.manual_seed(0)
    model = get_peft_model(load(folder), config)
    model.add_adapter("critic", config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight.normal_(std=0.3)
    model.set_adapter("critic")
    return model


def recomputed(model, prompt, ids, temperature=1.0):
    """log P of ``ids`` after ``prompt``: one plain forward pass in float32, by the definition."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1].double()
    logprobs = (logits / temperature).log_softmax(-1)
    return [float(logprobs[i, token]) for i, token in enumerate(ids)]


def difference(draws, model, temperature=1.0):
    """Mean |Δ log P| per token between sampler and model."""
    pairs = [
        (a, b)
        for prompt, draw in zip(PROMPTS, draws, strict=True)
        for a, b in zip(draw.logprobs, recomputed(model, prompt, draw.ids, temperature), strict=True)
    ]
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def train_a_little(model, updates=5, rate=0.01):
    """Updates of every weight, as a training makes them, with noise for a gradient."""
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=rate)
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("sampled"), seed=3)


@pytest.fixture(scope="module", params=KINDS)
def opened(request, folder):
    model = load(folder)
    sampler = open_sampler(request.param, folder, model, 128, dtype="float32")
    yield sampler, model
    sampler.close()
    sampler.close()
    with pytest.raises(EngineError, match="closed"):
        sampler.sample(PROMPTS, SEEDS, 4, 1.0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_the_models(opened, temperature):
    sampler, model = opened
    sampler.sync(model)
    draws = sampler.sample(PROMPTS, SEEDS, 24, temperature)
    assert difference(draws, model, temperature) < 1e-5
    assert difference(draws, model, 1.3 * temperature) > 0.1


def test_a_seed_decides_in_any_batch(opened):
    sampler, model = opened
    sampler.sync(model)
    together = sampler.sample(PROMPTS, SEEDS, 24, 1.0)
    backwards = sampler.sample(PROMPTS[::-1], SEEDS[::-1], 24, 1.0)[::-1]
    alone = [sampler.sample([p], [s], 24, 1.0)[0] for p, s in zip(PROMPTS, SEEDS, strict=True)]
    assert [d.ids for d in together] == [d.ids for d in backwards] == [d.ids for d in alone]
    for a, b in zip(together, backwards, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    others = sampler.sample(PROMPTS, [seed + 1 for seed in SEEDS], 24, 1.0)
    assert all(a.ids != b.ids for a, b in zip(together, others, strict=True))
    same = sampler.sample([PROMPTS[0]] * 40, range(40), 24, 1.0)
    assert len({draw.ids for draw in same}) == 40


def test_draws_follow_the_distribution(opened):
    sampler, model = opened
    sampler.sync(model)
    draws = sampler.sample([PROMPTS[0]] * 2000, range(2000), 1, 0.5)
    with torch.no_grad():
        expected = (model(torch.tensor([PROMPTS[0]])).logits[0, -1] / 0.5).softmax(-1)
    counts = torch.zeros_like(expected)
    for draw in draws:
        counts[draw.ids[0]] += 1
    top = expected.topk(5).indices
    error = (counts[top] / 2000 - expected[top]).abs() / (expected[top] * (1 - expected[top]) / 2000).sqrt()
    assert expected[top[0]] > 0.05
    assert error.max() < 4  # standard errors


def test_the_end_token_is_part_of_a_response(opened):
    sampler, model = opened
    eos = model.config.eos_token_id
    with torch.no_grad():  # an end token that comes soon, and not at once
        wanted = model.model(torch.tensor([PROMPTS[1]])).last_hidden_state.mean(dim=(0, 1))
        model_ends = copy.deepcopy(model)
        model_ends.model.embed_tokens.weight[eos] = wanted / wanted.norm() * 1.2
    sampler.sync(model_ends)
    draws = sampler.sample([PROMPTS[1]] * 64, range(64), 16, 1.0)
    sampler.sync(model)
    finishes = [draw.finish for draw in draws]
    assert {"stop", "length"} == set(finishes)
    for draw in draws:
        assert len(draw.ids) == len(draw.logprobs)
        assert eos not in draw.ids[:-1]
        assert (draw.ids[-1] == eos) == (draw.finish == "stop")
        assert len(draw.ids) == 16 or draw.finish == "stop"
        assert draw.logprobs == pytest.approx(recomputed(model_ends, PROMPTS[1], draw.ids), abs=1e-3)


def test_prompts_that_fill_the_context(opened):
    sampler, model = opened
    sampler.sync(model)
    almost = [25] * 126
    assert len(sampler.sample([almost], [1], 16, 1.0)[0].ids) <= 2
    with pytest.raises(EngineError, match="prompt 1 has 128 tokens"):
        sampler.sample([[25], [25] * 128], [1, 2], 16, 1.0)
    with pytest.raises(EngineError, match="prompt 0 has 0 tokens"):
        sampler.sample([[]], [1], 16, 1.0)


def test_an_adapter_is_merged_in_and_left_alone(opened, folder):
    sampler, _ = opened
    model = with_adapter(folder)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    sampler.sync(model)
    draws = sampler.sample(PROMPTS, SEEDS, 24, 1.0)
    assert model.training and model.active_adapter == "critic"
    assert learning == {name for name, weight in model.named_parameters() if weight.requires_grad}
    after = model.state_dict()
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)

    model.eval()
    assert difference(draws, model.merge_and_unload(adapter_names=["default"])) < 1e-4
    assert difference(draws, load(folder)) > 5e-2


def test_dropout_is_off_while_drawing(folder):
    model = load(folder)
    for layer in model.model.layers:
        layer.mlp.down_proj = torch.nn.Sequential(layer.mlp.down_proj, torch.nn.Dropout(0.5))
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    draws = open_sampler("transformers", folder, model, 128).sample(PROMPTS, SEEDS, 8, 1.0)
    assert modes == [module.training for module in model.modules()]
    assert state.equal(torch.get_rng_state())
    assert difference(draws, model.eval()) < 1e-5


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM")
def test_vllm_follows_the_weights(folder):
    from cai.engines.samplers.sampler_vllm import VLLMSampler

    model = load(folder)
    states = torch.get_rng_state(), random.getstate()
    synced, stale = VLLMSampler(folder, "float32", 128), None
    try:
        for _ in range(3):
            synced.sync(model)
            first = synced.sample(PROMPTS, SEEDS, 24, 1.0)
            assert difference(first, model) <= 5e-3
            train_a_little(model)
            stale = synced.sample(PROMPTS, SEEDS, 24, 1.0)  # the sync is left out
            assert difference(stale, model) > 5e-2
            assert [draw.ids for draw in stale] == [draw.ids for draw in first]
    finally:
        synced.close()
    assert states[0].equal(torch.get_rng_state()) and states[1] == random.getstate()


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM")
@pytest.mark.parametrize("family", ["qwen3_moe", "granitemoe"])
def test_vllm_follows_the_experts_of_a_mixture(family, tmp_path):
    """Their packed copies are packed again after every sync (mean |Δ log P| was 1.4 without)."""
    from cai.engines.samplers.sampler_vllm import VLLMSampler

    models = [tiny_families.build(family, seed, width=4) for seed in (0, 1)]
    sampler = VLLMSampler(tiny_families.save(family, tmp_path, width=4), "float32", 128)
    try:
        for model in (*models, models[0]):
            sampler.sync(model)
            assert difference(sampler.sample(PROMPTS, SEEDS, 24, 1.0), model) < 1e-3
        assert difference(sampler.sample(PROMPTS, SEEDS, 24, 1.0), models[1]) > 5e-2
    finally:
        sampler.close()


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM")
def test_experts_that_vllm_keeps_are_refused_before_anything_is_drawn(tmp_path):
    from cai.engines.samplers.sampler_vllm import VLLMSampler

    sampler = VLLMSampler(tiny_families.save("gpt_oss", tmp_path, width=4), "float32", 128)
    try:
        with pytest.raises(EngineError, match=r"keeps the experts.*Use sampler: transformers"):
            sampler.sync(tiny_families.build("gpt_oss", 1, width=4))
    finally:
        sampler.close()


def test_who_draws(monkeypatch):
    from cai.engines.samplers import opening

    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: object())
    assert sampler_name("auto") == sampler_name("vllm") == "vllm"
    assert sampler_name("auto", 2) == sampler_name("transformers") == "transformers"
    with pytest.raises(UsageError, match="2 are training"):
        sampler_name("vllm", 2)
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: None)
    assert sampler_name("auto") == "transformers"
    with pytest.raises(UsageError, match="not installed"):
        sampler_name("vllm")


class Unable:
    """vLLM's sampler of a model that it cannot load, or cannot load anew."""

    dtype = "float32"

    def __init__(self, folder, dtype, max_model_len, vllm):
        if self.when == "load":
            raise EngineError("vLLM cannot load it: ValueError: no kernel")

    def sync(self, model):
        raise EngineError("vLLM keeps the experts")

    def close(self):
        self.closed.append(True)


@pytest.mark.parametrize("when", ["load", "sync"])
def test_auto_draws_from_the_model_itself_where_vllm_does_not_take_it(when, folder, monkeypatch, caplog):
    from cai.engines.samplers import opening, sampler_auto

    model = load(folder)
    closed = []
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(sampler_auto, "VLLMSampler", type("Of", (Unable,), {"when": when, "closed": closed}))
    sampler = open_sampler("auto", folder, model, 128)
    sampler.sync(model)
    draws = sampler.sample(PROMPTS, SEEDS, 8, 1.0)
    assert draws == open_sampler("transformers", folder, model, 128).sample(PROMPTS, SEEDS, 8, 1.0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("transformers draws the responses, not vLLM: vLLM ")
    assert closed == ([True] if when == "sync" else [])


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM")
def test_auto_draws_from_experts_that_vllm_keeps(tmp_path, caplog):
    folder = tiny_families.save("gpt_oss", tmp_path, width=4)
    models = [tiny_families.build("gpt_oss", seed, width=4) for seed in (1, 2)]
    sampler = open_sampler("auto", folder, models[0], 128, dtype="float32")
    try:
        for model in models:
            sampler.sync(model)
            assert difference(sampler.sample(PROMPTS, SEEDS, 12, 1.0), model) < 1e-4
    finally:
        sampler.close()
    assert [r.getMessage() for r in caplog.records if "keeps the experts" in r.getMessage()]
