"""``report_to: [tensorboard]``: what the trainings and the evaluation say, for TensorBoard as well.

    tensorboard --logdir runs/latest/logs

``logs/<stage>`` has the figures of every update of a training, ``logs/metrics`` those of metrics.json with
the ends of their intervals. Everything is a file in the run folder: no port is opened and nothing is sent.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cai.values.errors import UsageError
from cai.values.types import Score

Report = Callable[[int, Mapping[str, float]], None]


def require(names: Sequence[str]) -> None:
    """Raises UsageError when something that is to be reported to is not installed."""
    if "tensorboard" in names and importlib.util.find_spec("tensorboard") is None:
        raise UsageError("report_to: tensorboard is not installed. Use: pip install 'cai[tracking]'")


@contextmanager
def reporting(names: Sequence[str], run: Path, stage: str) -> Iterator[Report]:
    """``report(step, figures)`` for the updates of a training, counted from 1.

    A training that begins replaces the figures of the last one; one that goes on does so at its step.
    """
    writer: Any = None

    def report(step: int, figures: Mapping[str, float]) -> None:
        nonlocal writer
        if "tensorboard" not in names:
            return
        if writer is None:
            writer = _writer(run / "logs" / stage, step)
        for name, value in figures.items():
            writer.add_scalar(name, value, step)

    try:
        yield report
    finally:
        if writer is not None:
            writer.close()


def report_metrics(names: Sequence[str], run: Path, metrics: Mapping[str, Score]) -> None:
    """The figures of metrics.json as they are now, and the ends of their intervals."""
    with reporting(names, run, "metrics") as report:
        values = {
            f"{name}{end}": value
            for name, score in metrics.items()
            for end, value in (("", score.value), ("/low", score.low), ("/high", score.high))
        }
        report(1, values)


def _writer(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    if step == 1:
        shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(str(folder), purge_step=step)
