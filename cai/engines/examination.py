"""What one server and model can do, asked in a handful of requests: for ``cai doctor``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cai.engines.server.openai import OpenAIEngine
from cai.values.errors import CaiError, ItemError, NoLogprobsError
from cai.values.types import CompletionRequest, Message, Sampling

_QUESTION = CompletionRequest(
    (Message("user", "Describe a garden in five words that nobody else would choose."),),
    Sampling(0.9, 0.9, 64, ("###",)),  # every parameter that a run may send
    seed=7,
)


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found. ``fault``: why the model cannot be asked at all; then nothing else is known.

    ``unread``: why it gives no log-probabilities; "" where it does, ``alternatives`` of each token at most.
    ``known``: whether the server's list has the model; None where it has no list. ``context``: tokens, where
    it says. ``seconds`` and ``tokens_per_second`` are of one request by itself.
    """

    fault: str = ""
    known: bool | None = None
    context: int | None = None
    thinks: bool = False
    cut_off: bool = False
    beginning: str = ""
    options: str = ""
    unread: str = ""
    alternatives: int = 0
    left_out: tuple[str, ...] = ()
    seeds: bool | None = None
    seconds: float = 0.0
    tokens_per_second: float = 0.0


async def examine(engine: OpenAIEngine) -> Examination:
    """Ask, and never raise for what the server does."""
    listed = [one for one in await engine.models() if isinstance(one, Mapping)]
    own = next((one for one in listed if one.get("id") == engine.name), {})
    context = next((own[n] for n in ("max_model_len", "context_length") if isinstance(own.get(n), int)), None)
    found = Examination(known=bool(own) if listed else None, context=context)
    try:
        started = time.monotonic()
        first = await engine.complete(_QUESTION)
        seconds = time.monotonic() - started
        again = await engine.complete(_QUESTION)
        forms = await engine.forms(["prefill", "options"])
        unread = ""
        try:
            await engine.require_logprobs()
        except NoLogprobsError as error:
            unread = str(error).partition("(")[2].partition("), and labels")[0]
        except ItemError as error:
            unread = str(error)
    except CaiError as error:
        return replace(found, fault=str(error))
    left_out = tuple(sorted(engine.dialect.dropped))
    return replace(
        found,
        thinks=first.thought_tokens > 0 or (first.finish == "length" and not first.text),
        cut_off=first.finish == "length",
        beginning=forms["prefill"],
        options=forms["options"],
        unread=unread,
        alternatives=0 if unread else engine.dialect.top,
        left_out=left_out,
        seeds=None if "seed" in left_out or not first.text else first.text == again.text,
        seconds=seconds,
        tokens_per_second=first.completion_tokens / seconds if seconds else 0.0,
    )
