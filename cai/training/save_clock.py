"""When a checkpoint is due: by updates made and by minutes gone."""

from __future__ import annotations

import time
from collections.abc import Callable

from cai.config.train_config import OptimizerConfig, RolloutConfig


class SaveClock:
    """Every ``save_steps`` updates, and whenever the last checkpoint is ``save_minutes`` old."""

    def __init__(
        self, config: OptimizerConfig | RolloutConfig, now: Callable[[], float] = time.monotonic
    ) -> None:
        """``now``: seconds from any start."""
        self._steps, self._seconds, self._now = config.save_steps, config.save_minutes * 60.0, now
        self._last = now()

    def due(self, step: int) -> bool:
        """Whether to save after update ``step``, counted from 1."""
        return step % self._steps == 0 or self._now() - self._last >= self._seconds

    def saved(self) -> None:
        """A checkpoint has just been written: the minutes count from here."""
        self._last = self._now()
