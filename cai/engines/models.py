"""Which model plays which part, and never more than one local model in memory.

Stages use one model each, so opening the next one closes the last. The answers of all of them go
through the run's journal.
"""

from __future__ import annotations

from collections.abc import Sequence

from cai.config.run_config import ModelConfig, RunConfig
from cai.engines.backend import concurrency, fingerprint, former_fingerprint, on_a_server, open_engine
from cai.engines.engine import Engine
from cai.engines.journaled import JournaledEngine, Used
from cai.engines.purse import Purse
from cai.engines.rehearsal import Part, rehearse
from cai.run.folder import RunFolder
from cai.run.journal import Journal


def critic(config: RunConfig) -> ModelConfig:
    """The model that critiques and revises; the base policy unless another is named."""
    return config.critic or config.model


def labeler(config: RunConfig) -> ModelConfig:
    """The model that labels pairs; the critic unless another is named."""
    return config.labeler or critic(config)


def judge(config: RunConfig) -> ModelConfig:
    """The model that grades answers; the labeler unless another is named."""
    return config.evaluate.judge or labeler(config)


def beside_a_sampler(config: ModelConfig) -> ModelConfig:
    """The same model on an engine that bears another model's sampler in this process, as vLLM does not."""
    return config if on_a_server(config) else config.model_copy(update={"engine": "transformers"})


def trained(config: RunConfig, folder: RunFolder, checkpoint: str) -> ModelConfig:
    """The policy with the weights of one of the run's checkpoints."""
    return config.model.model_copy(update={"name": str(folder.checkpoint(checkpoint)), "revision": None})


class Models:
    """Journaled engines by configuration."""

    def __init__(self, journal: Journal, purse: Purse | None = None, parts: Sequence[Part] = ()):
        self._journal = journal
        self._purse = purse
        self._parts = parts  # to be rehearsed before the first model is opened
        self._engines: dict[ModelConfig, JournaledEngine] = {}
        self._open: JournaledEngine | None = None
        self.used = Used()

    def engine(self, config: ModelConfig) -> JournaledEngine:
        """The engine of ``config``; its model is loaded at the first question the journal can't answer."""
        if config not in self._engines:
            self._engines[config] = self._journaled(config)
        return self._engines[config]

    def forget(self, config: ModelConfig) -> None:
        """Drop what is known of ``config``: its checkpoint has been trained anew."""
        self._engines.pop(config, None)

    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of every model that has been used, by name."""
        return {config.name: engine.fingerprint for config, engine in self._engines.items()}

    async def close(self) -> None:
        """Free the model that is loaded, if any."""
        engine, self._open = self._open, None
        if engine is not None:
            await engine.close()

    def _journaled(self, config: ModelConfig) -> JournaledEngine:
        async def open() -> Engine:
            parts, self._parts = self._parts, ()
            await rehearse(parts, self._journal, self._purse)
            await self.close()
            self._open = engine
            return await self._opened(config)

        engine = JournaledEngine(
            config.name,
            fingerprint(config),
            open,
            self._journal,
            concurrency(config),
            former=former_fingerprint(config),
            formed=on_a_server(config),
            used=self.used,
        )
        return engine

    async def _opened(self, config: ModelConfig) -> Engine:
        """Raises EngineError where a server has another model under the name than this journal knows."""
        made = await open_engine(config, self._purse, self._journal)
        if on_a_server(config):
            from cai.engines.server.announced import remember
            from cai.engines.server.openai import OpenAIEngine

            if isinstance(made, OpenAIEngine):
                await remember(made, self._journal)
        return made
