"""The steps that change weights: SFT on the demonstrations, DPO on the preferences."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from cai import models, tables
from cai.engines.load import model_path
from cai.steps.run import Run, record_counts, require

T = TypeVar("T")


async def step_sft(run: Run) -> None:
    """demonstrations.parquet → checkpoints/sft."""
    raise NotImplementedError


async def step_dpo(run: Run) -> None:
    """preferences.parquet → checkpoints/policy."""
    raise NotImplementedError
