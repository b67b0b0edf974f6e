"""The transformers engine on a tiny random model, against plain forward passes."""

import asyncio
import gc
from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai.chat.encoding import encode, end_ids
from cai.config.run_config import ModelConfig
from cai.engines.backend import open_engine
from cai.values.errors import EngineError, ItemError
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Sampling

PROMPTS = [
    "Hello world!",
    "What is this?",
    "Please consider the following conversation. " * 3,
    "Options: (A) be kind and honest. (B) be rude and wrong. The answer is",
    "No.",
    "stop<|im_end|><think></s> 🙂",
]
OPTIONS = ("A", "B")


def ask(text, seed=0, **sampling):
    return CompletionRequest((Message("user", text),), Sampling(**{"max_tokens": 24, **sampling}), seed)


def pick(text, options=OPTIONS, prefill="The answer is: ("):
    return ChoiceRequest((Message("user", text),), options, prefill)


@pytest.fixture(scope="module")
def reference(tiny_model):
    """The bare model and tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval().requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
async def engine(tiny_model):
    engine = await open_engine(ModelConfig(name=str(tiny_model), engine="transformers"))
    yield engine
    await engine.close()


async def test_greedy_equals_generate(engine, reference):
    model, tokenizer = reference
    answers = await asyncio.gather(*(engine.complete(ask(text, temperature=0.0)) for text in PROMPTS))
    for text, answer in zip(PROMPTS, answers, strict=True):
        ids = encode(tokenizer, (Message("user", text),))
        out = model.generate(
            torch.tensor([ids]), do_sample=False, max_new_tokens=24, eos_token_id=list(end_ids(tokenizer))
        )
        assert answer.text == tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)
        assert answer.prompt_tokens == len(ids)
        assert answer.completion_tokens == out.shape[1] - len(ids)


async def test_a_seed_reproduces_in_any_batch(engine):
    requests = [
        ask(text, seed, temperature=1.0, top_p=p) for text in PROMPTS for seed in (1, 2) for p in (1.0, 0.8)
    ]
    together = await asyncio.gather(*(engine.complete(request) for request in requests))
    alone = [await engine.complete(request) for request in requests]
    assert together == alone
    assert len({answer.text for answer in together}) > len(PROMPTS)


async def test_samples_follow_the_distribution(engine, reference):
    """First tokens of 2,000 draws against the model's own probabilities, text by text."""
    model, tokenizer = reference
    draws = 2000
    ids = encode(tokenizer, (Message("user", PROMPTS[0]),))
    expected = Counter()  # several tokens may decode to one text
    for token, p in enumerate(model(torch.tensor([ids])).logits[0, -1].softmax(-1).tolist()):
        expected[tokenizer.decode([token], skip_special_tokens=True)] += p
    answers = await asyncio.gather(
        *(engine.complete(ask(PROMPTS[0], seed, max_tokens=1)) for seed in range(draws))
    )
    counts = Counter(answer.text for answer in answers)
    for text, p in expected.most_common(20):
        assert abs(counts[text] - draws * p) < 4.5 * (draws * p * (1 - p)) ** 0.5


async def test_top_p_keeps_the_nucleus(engine, reference):
    model, tokenizer = reference
    ids = encode(tokenizer, (Message("user", PROMPTS[1]),))
    probabilities, order = model(torch.tensor([ids])).logits[0, -1].softmax(-1).sort(descending=True)
    inside = order[(probabilities.cumsum(-1) - probabilities) < 0.3].tolist()
    allowed = {tokenizer.decode([token], skip_special_tokens=True) for token in inside}
    answers = await asyncio.gather(
        *(engine.complete(ask(PROMPTS[1], s, max_tokens=1, top_p=0.3)) for s in range(64))
    )
    assert {answer.text for answer in answers} <= allowed


async def test_choose_is_the_log_softmax(engine, reference):
    model, tokenizer = reference
    choices = await asyncio.gather(*(engine.choose(pick(text)) for text in PROMPTS))
    for text, choice in zip(PROMPTS, choices, strict=True):
        ids = encode(tokenizer, (Message("user", text),), prefill="The answer is: (")
        logprobs = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        expected = [float(logprobs[tokenizer.convert_tokens_to_ids(option)]) for option in OPTIONS]
        assert choice.logprobs == pytest.approx(expected, abs=6e-4)
        assert choice.prompt_tokens == len(ids)


async def test_choose_is_the_same_in_any_batch(engine):
    requests = [pick(text * n) for text in PROMPTS for n in (1, 2, 3)]
    together = await asyncio.gather(*(engine.choose(request) for request in requests))
    assert together == [await engine.choose(request) for request in requests]


async def test_options_of_several_tokens_sum_their_log_probabilities(engine, reference):
    model, tokenizer = reference
    options = ("be kind", "be rude and wrong", "A")
    choice = await engine.choose(pick(PROMPTS[3], options))
    prompt = encode(tokenizer, (Message("user", PROMPTS[3]),), prefill="The answer is: (")
    for option, found in zip(options, choice.logprobs, strict=True):
        ids = tokenizer.encode(option, add_special_tokens=False)
        logprobs = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        expected = sum(float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(ids))
        assert found == pytest.approx(expected, abs=6e-4)


async def test_stop_strings_end_and_are_cut(engine):
    free = await engine.complete(ask(PROMPTS[2], temperature=0.0))
    stop = free.text[3:5]
    answer = await engine.complete(ask(PROMPTS[2], temperature=0.0, stop=(stop,)))
    assert answer.finish == "stop"
    assert answer.text == free.text[: free.text.index(stop)]
    assert answer.completion_tokens < free.completion_tokens


async def test_max_tokens_is_length(engine):
    answer = await engine.complete(ask(PROMPTS[0], temperature=0.0, max_tokens=2))
    assert (answer.finish, answer.completion_tokens) == ("length", 2)


async def test_prefill_is_not_part_of_the_text(engine):
    request = CompletionRequest((Message("user", "Hello"),), Sampling(0.0, max_tokens=8), 0, prefill="Well,")
    assert not (await engine.complete(request)).text.startswith("Well,")


async def test_a_prompt_longer_than_the_context_fails_alone(engine):
    long = ask("Hello world! " * 500)
    results = await asyncio.gather(
        engine.complete(long),
        engine.choose(pick("x " * 2000)),
        engine.complete(ask("Hi")),
        return_exceptions=True,
    )
    assert isinstance(results[0], ItemError)
    assert "context holds 512" in str(results[0])
    assert isinstance(results[1], ItemError)
    assert results[2].text is not None


async def test_an_answer_ends_with_the_context(engine):
    request = ask("Hello world! " * 60, temperature=0.0, max_tokens=5000)
    answer = await engine.complete(request)
    assert answer.prompt_tokens + answer.completion_tokens <= 512


async def test_cancelled_requests_do_not_hold_up_others(engine):
    tasks = [asyncio.create_task(engine.complete(ask(PROMPTS[0], s, max_tokens=300))) for s in range(8)]
    await asyncio.sleep(0.05)
    for task in tasks[1:]:
        task.cancel()
    assert (await tasks[0]).completion_tokens > 0


async def test_close_frees_and_refuses(tiny_model):
    engine = await open_engine(ModelConfig(name=str(tiny_model), engine="transformers"))
    await engine.complete(ask("Hi"))
    await engine.close()
    await engine.close()
    gc.collect()
    with pytest.raises(EngineError, match="closed"):
        await engine.complete(ask("Hi"))


async def test_a_broken_model_fails_every_request(engine, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(engine._worker._model, "step", broken)
    results = await asyncio.gather(*(engine.complete(ask(p)) for p in PROMPTS), return_exceptions=True)
    assert any(isinstance(result, EngineError) for result in results)
    with pytest.raises(EngineError, match="no more memory"):
        await engine.complete(ask("Hi"))


async def test_a_folder_that_is_no_model(tmp_path):
    from cai.values.errors import UsageError

    with pytest.raises(UsageError, match=r"no config\.json"):
        await open_engine(ModelConfig(name=str(tmp_path), engine="transformers"))


@pytest.mark.slow
async def test_a_real_model_gives_the_same_answers_in_any_batch(smollm2):
    """135M parameters in float32: batched, with a shared beginning, and one by one."""
    engine = await open_engine(ModelConfig(name=str(smollm2), engine="transformers", dtype="float32"))
    texts = ["What is the capital of France?", "Name three colours.", "Is it kind to lie? " * 8, "Hi"]
    asked = [ask(text, seed, max_tokens=16, top_p=p) for text in texts for seed, p in ((1, 1.0), (2, 0.9))]
    together = await asyncio.gather(*(engine.complete(request) for request in asked))
    assert together == [await engine.complete(request) for request in asked]
    picked = [pick(text, options) for text in texts for options in (("A", "B"), ("A", "B) or both"))]
    choices = await asyncio.gather(*(engine.choose(request) for request in picked))
    assert choices == [await engine.choose(request) for request in picked]
    answer = await engine.complete(ask(texts[0], max_tokens=20, temperature=0.0))
    assert "Paris" in answer.text
    await engine.close()
