"""The policy answers a prompt: before revision (once) and after SFT (n times, to be compared)."""

from __future__ import annotations

from itertools import combinations

from cai.config.run_config import SamplingConfig
from cai.engines.engine import Engine
from cai.run.journal import derive_seed
from cai.values.errors import ItemError
from cai.values.types import Comparison, CompletionRequest, Prompt, Response, Sampling


def sampling(config: SamplingConfig, stop: tuple[str, ...] = ()) -> Sampling:
    """The sampling parameters of a configuration section."""
    return Sampling(config.temperature, config.top_p, config.max_tokens, stop)


async def generate(
    prompt: Prompt, engine: Engine, config: SamplingConfig, seed: int, index: int = 0
) -> Response:
    """Sample the ``index``-th answer to ``prompt``.

    ``seed`` already names the run and the stage; the prompt's id and ``index`` are added here.

    Raises:
        ItemError: the model answered with nothing.
    """
    request = CompletionRequest(prompt.messages, sampling(config), derive_seed(seed, prompt.id, index))
    completion = await engine.complete(request)
    text = completion.text.strip()
    if not text:
        raise ItemError("empty response", f"finish={completion.finish}")
    return Response(prompt, text, completion.finish, index)


def pair(responses: list[Response]) -> list[Comparison]:
    """Every pair of different texts among answers to one prompt.

    Order of ``a`` and ``b`` is the order of sampling, which is independent of their quality.
    """
    first = {response.text: response for response in reversed(responses)}
    distinct = sorted(first.values(), key=lambda response: response.index)
    return [
        Comparison(f"{a.prompt.id}/{a.index}-{b.index}", a.prompt, a.text, b.text)
        for a, b in combinations(distinct, 2)
    ]
