"""Which engine speaks to a server, by the protocol that a model's configuration names."""

from __future__ import annotations

from cai.config.run_config import ModelConfig
from cai.engines.hosted.anthropic import AnthropicEngine
from cai.engines.hosted.responses import ResponsesEngine
from cai.engines.server.openai import OpenAIEngine

_ENGINES: dict[str, type[OpenAIEngine]] = {
    "openai": OpenAIEngine,
    "openai-responses": ResponsesEngine,
    "anthropic": AnthropicEngine,
}


def server_engine(config: ModelConfig) -> type[OpenAIEngine]:
    """The engine of ``config``, whose model is on a server."""
    return _ENGINES[config.engine]
