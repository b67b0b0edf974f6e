"""Which engine speaks to a server, by the protocol that a model's configuration names."""

from __future__ import annotations

from cai.config.run_config import ModelConfig
from cai.engines.hosted.anthropic import AnthropicEngine
from cai.engines.server.openai import OpenAIEngine


def server_engine(config: ModelConfig) -> type[OpenAIEngine]:
    """The engine of ``config``, whose model is on a server."""
    return AnthropicEngine if config.engine == "anthropic" else OpenAIEngine
