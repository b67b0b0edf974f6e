"""Draws verdicts from a model on a server, as a program that may be killed.

python -m tests.engines.verdict_asking JOURNAL URL [TOKENS]
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from pathlib import Path

from cai.config.run_config import BudgetConfig, LabelConfig, ModelConfig
from cai.engines.models import Models
from cai.engines.purse import Purse
from cai.run.journal import Journal
from cai.stages.label_question import Question
from cai.stages.label_reading import Way, read
from cai.values.errors import BudgetError
from cai.values.types import Message

PAIRS, SAMPLES, IN_FLIGHT = 4, 5, 3


async def ask(path: Path, url: str, budget: int | None = None) -> list[str]:
    """The label of every pair; "budget" where that was spent."""
    label, way = LabelConfig(samples=SAMPLES, max_tokens=16), Way()
    with closing(Journal(path, lambda _: None)) as journal:
        models = Models(journal, Purse(BudgetConfig(tokens=budget), journal))
        config = ModelConfig(name="m", engine="openai", base_url=url, max_concurrency=IN_FLIGHT,
                             api_key_env="A_KEY")  # fmt: skip
        engine = models.engine(config)

        async def one(n: int) -> str:
            words = f"Which is better, pair {n}?\n(A) quality {5 - n}\n(B) quality 3"
            question = Question((Message("user", words),), ("A", "B"), (f"q{n}",))
            try:
                return f"{(await read(question, engine, label, way, 0)).p:.4f}"
            except BudgetError:
                return "budget"

        try:
            return [await one(n) for n in range(PAIRS)]
        finally:
            await models.close()


if __name__ == "__main__":
    found = asyncio.run(ask(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else None))
    print("\n".join(found))
