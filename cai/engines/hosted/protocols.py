"""Which engine speaks to a server, and whose batches it sends, by the protocol that a configuration names."""

from __future__ import annotations

from cai.config.run_config import ModelConfig
from cai.engines.batches.file_batches import FileBatches
from cai.engines.batches.message_batches import MessageBatches
from cai.engines.batches.pool import Timing
from cai.engines.hosted.anthropic import AnthropicEngine
from cai.engines.hosted.responses import ResponsesEngine
from cai.engines.server.openai import OpenAIEngine
from cai.run.journal import Journal
from cai.run.pending import Pending

_ENGINES: dict[str, type[OpenAIEngine]] = {
    "openai": OpenAIEngine,
    "openai-responses": ResponsesEngine,
    "anthropic": AnthropicEngine,
}


def server_engine(config: ModelConfig) -> type[OpenAIEngine]:
    """The engine of ``config``, whose model is on a server."""
    return _ENGINES[config.engine]


def send_in_batches(
    engine: OpenAIEngine, config: ModelConfig, journal: Journal, timing: Timing | None = None
) -> None:
    """Let ``engine`` send a run's questions in batches, which ``journal`` keeps the ids of."""
    service = MessageBatches if config.engine == "anthropic" else FileBatches
    engine.send_in_batches(service, Pending(journal.rows, f"{config.engine} {engine.base_url}"), timing)
