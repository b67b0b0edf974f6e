"""How a labeler is read: by log-probabilities where it gives them, else by sampled verdicts.

    reading = await read(question, engine, config, way, seed)

``label.read`` says which; ``auto`` finds it out with the first question that is asked, once for all.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from cai.config.run_config import LabelConfig
from cai.engines.engine import Engine
from cai.stages.label_logprobs import read_logprobs
from cai.stages.label_question import Question
from cai.stages.label_samples import read_samples
from cai.values.errors import NoLogprobsError
from cai.values.types import Reading


@dataclass(slots=True)
class Way:
    """What ``auto`` has found out of one labeler; ``sampled`` is None until then."""

    sampled: bool | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def read(question: Question, engine: Engine, config: LabelConfig, way: Way, seed: int) -> Reading:
    """P(the first option), or why it could not be read.

    Raises:
        ItemError: the engine cannot serve this question.
        EngineError: it can serve none in the way that ``config.read`` asks for.
    """
    if config.read == "samples" or (config.read == "auto" and way.sampled):
        return await read_samples(question, engine, config, seed)
    if config.read == "logprobs" or way.sampled is False:
        return await read_logprobs(question, engine, config, seed)
    async with way.lock:  # the others wait for what the first one finds
        if way.sampled is None:
            try:
                reading = await read_logprobs(question, engine, config, seed)
            except NoLogprobsError:
                way.sampled = True
            else:
                way.sampled = False
                return reading
    return await read(question, engine, config, way, seed)
