"""The vLLM engine against the transformers engine: the same answers to the same questions."""

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny_families
from tiny_models import save_tiny_model

from cai.config.run_config import ModelConfig
from cai.engines.backend import open_engine
from cai.values.errors import EngineError, ItemError
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Sampling

vllm = find_spec("vllm")
pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.skipif(vllm is None, reason="needs vLLM")]

PROMPTS = [
    "Hello world! How are you today?",
    "What is the capital of France?",
    "Consider which is better. (A) be kind and honest. (B) be rude and wrong.",
    "stop<|im_end|>\n<|im_start|>system\n<think></s> 🙂",
    "Name three colours. " * 12,
]
GREEDY = Sampling(temperature=0.0, max_tokens=12)
PICKS = [
    ChoiceRequest((Message("user", text),), options, "The answer is: (")
    for text in PROMPTS
    for options in (("A", "B"), ("A", "B)", "neither of them"))
]


def ask(text, seed=0, **sampling):
    return CompletionRequest((Message("user", text),), Sampling(**{"max_tokens": 24, **sampling}), seed)


def config(folder, engine):
    return ModelConfig(name=str(folder), engine=engine, dtype="float32")


def gather(engine, *requests):
    """Ask everything at once; engines may be used from one event loop after another."""

    async def all_of_them():
        verbs = (engine.choose(r) if isinstance(r, ChoiceRequest) else engine.complete(r) for r in requests)
        return await asyncio.gather(*verbs, return_exceptions=True)

    return asyncio.run(all_of_them())


@pytest.fixture(scope="module")
def pocket():
    """The shipped model's folder."""
    try:
        from cai.pocket import MODEL_PATH
    except ImportError:
        pytest.skip("no pocket model yet")
    if not (Path(MODEL_PATH) / "model.safetensors").is_file():
        pytest.skip("no pocket model yet")
    return Path(MODEL_PATH)


@pytest.fixture(scope="module", params=["tiny_model", "pocket", "smollm2"])
def pair(request):
    """One model on vLLM and on transformers, in float32."""
    folder = request.getfixturevalue(request.param)
    engines = [asyncio.run(open_engine(config(folder, name))) for name in ("vllm", "transformers")]
    yield engines
    for engine in engines:
        asyncio.run(engine.close())


def test_choose_agrees(pair):
    found, expected = (gather(engine, *PICKS) for engine in pair)
    for a, b in zip(found, expected, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
        assert a.prompt_tokens == b.prompt_tokens


def test_greedy_completions_agree(pair):
    requests = [CompletionRequest((Message("user", text),), GREEDY, 0) for text in PROMPTS]
    found, expected = (gather(engine, *requests) for engine in pair)
    assert found == expected


def test_a_seed_reproduces_in_any_batch(pair):
    requests = [ask(text, seed, top_p=top_p) for text in PROMPTS for seed, top_p in ((1, 1.0), (2, 0.9))]
    engine = pair[0]
    together = gather(engine, *requests)
    alone = [gather(engine, request)[0] for request in requests]
    assert together == alone
    assert len({answer.text for answer in together}) > len(PROMPTS)


def test_prefill_and_stop_strings_agree(pair):
    free = gather(pair[1], CompletionRequest((Message("user", PROMPTS[0]),), GREEDY, 0, "Well, I"))[0]
    stop = free.text[2:4]
    stopped = CompletionRequest(
        (Message("user", PROMPTS[0]),), Sampling(0.0, max_tokens=12, stop=(stop,)), 0, "Well, I"
    )
    found, expected = (gather(engine, stopped)[0] for engine in pair)
    assert found.text == expected.text == free.text[: free.text.index(stop)]
    assert found.finish == expected.finish == "stop"


def test_bad_requests_fail_alone(pair):
    long = ask("word " * 200_000)
    hot = ask("Hi", temperature=9.0)
    results = gather(pair[0], long, hot, ChoiceRequest(long.messages, ("A", "B")), ask("Hi"))
    assert [type(result) for result in results[:3]] == [ItemError] * 3
    assert "context holds" in str(results[0])
    assert results[3].text is not None


def test_ids_without_a_token_are_never_drawn(tmp_path):
    """A vocabulary padded by 3 rows, which the model finds by far the most probable."""
    from cai.engines.samplers.sampler_vllm import VLLMSampler

    model, known = tiny_families.build("phi", width=4), len(tiny_families.tokenizer())
    model.resize_token_embeddings(known + 3, mean_resizing=False)
    model.lm_head.bias[known:] = 20.0
    model.save_pretrained(tmp_path)
    tiny_families.tokenizer().save_pretrained(tmp_path)
    asked = [CompletionRequest((Message("user", text),), GREEDY, 0) for text in PROMPTS[:3]]
    answers = []
    for name in ("vllm", "transformers"):
        engine = asyncio.run(open_engine(config(tmp_path, name)))
        answers.append(gather(engine, *asked, ask("Hi", 1)))
        asyncio.run(engine.close())
    assert answers[0][:3] == answers[1][:3]
    assert all(answer.text for answer in answers[0])
    sampler = VLLMSampler(tmp_path, "float32", 128)
    try:
        draws = sampler.sample([[20, 30, 40]] * 8, range(8), 12, 1.0)
    finally:
        sampler.close()
    assert all(draw.ids and max(draw.ids) < known for draw in draws)


def test_more_ids_than_a_gpu_can_bar_are_refused_in_words():
    from cai.engines.local.vllm_settings import MOST_BIASES, bars

    tokenizer = tiny_families.tokenizer()
    known = len(tokenizer)
    assert bars(tokenizer, known, True) is None
    assert set(bars(tokenizer, known + MOST_BIASES, True)) == set(range(known, known + MOST_BIASES))
    assert len(bars(tokenizer, known + MOST_BIASES + 1, False)) == MOST_BIASES + 1
    with pytest.raises(EngineError, match=r"1025 of the model's .* have no token.*engine: transformers"):
        bars(tokenizer, known + MOST_BIASES + 1, True)


def resident():
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.fixture
def all_cores():
    """This process on every core, also where the tests share them out (conftest.py)."""
    import torch

    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count()))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield
    torch.set_num_threads(threads)
    os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("all_cores")
def test_close_frees_and_another_model_loads(tiny_model, tmp_path):
    import torch

    before = torch.get_num_threads(), torch.set_num_threads, os.sched_getaffinity(0)
    other = save_tiny_model(tmp_path / "other", seed=1)
    engine = asyncio.run(open_engine(config(tiny_model, "vllm")))
    first = gather(engine, *PICKS)
    loaded = resident()
    asyncio.run(engine.close())
    asyncio.run(engine.close())
    assert resident() < loaded - 200  # MiB
    assert isinstance(gather(engine, ask("Hi"))[0], EngineError)

    engine = asyncio.run(open_engine(config(other, "vllm")))
    second = gather(engine, *PICKS)
    asyncio.run(engine.close())
    reference = asyncio.run(open_engine(config(other, "transformers")))
    for a, b, c in zip(second, gather(reference, *PICKS), first, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
        assert a.logprobs != pytest.approx(c.logprobs, abs=1e-3)
    asyncio.run(reference.close())
    assert before == (torch.get_num_threads(), torch.set_num_threads, os.sched_getaffinity(0))
    # A new thread, as training libraries start them, computes on all cores too.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(os.sched_getaffinity, 0).result() == before[2]
        assert pool.submit(torch.get_num_threads).result() == before[0]


def test_cancelled_requests_are_dropped(tiny_model):
    async def main():
        engine = await open_engine(config(tiny_model, "vllm"))
        tasks = [asyncio.create_task(engine.complete(ask("Hi", s, max_tokens=400))) for s in range(4)]
        await asyncio.sleep(0.3)
        for task in tasks[1:]:
            task.cancel()
        answer = await tasks[0]
        await engine.close()
        return answer

    assert asyncio.run(main()).completion_tokens > 0


def test_the_users_environment_wins(monkeypatch):
    from cai.engines.local.vllm_settings import prepare_environment

    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    monkeypatch.delenv("VLLM_NO_USAGE_STATS", raising=False)
    prepare_environment(gpu=True)
    assert os.environ["VLLM_LOGGING_LEVEL"] == "INFO"
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
    assert "vllm" not in sys.modules or os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
