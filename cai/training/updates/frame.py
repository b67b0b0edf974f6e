"""The frame of every training with TRL: find it finished, or do it quietly. Loads no torch itself.

``sft.py``, ``dpo.py`` and ``reward_model.py`` come in here with a ``Method``;
``loop.py``, which loads torch, does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cai.training.checkpoint import Workspace, training_key
from cai.training.result import TrainResult, Watch
from cai.training.updates.method import Method, Training


def train(
    training: Training,
    out_dir: str | Path,
    method: Callable[[Training, Workspace], Method],
    watch: Watch,
) -> TrainResult:
    """The finished training in ``out_dir``; done now unless it lies there already.

    ``method`` is asked only where there is something to do, since its libraries load slowly.

    Raises:
        TrainingError: no usable row, or a loss that is not finite.
        TrainingStopped: ``watch`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise; SystemExit: SIGTERM or SIGHUP.
    """
    from cai.training import quiet

    quiet.before_import()
    key = training_key(training.method, training.model, training.items, training.config, training.seed)
    workspace = Workspace(Path(out_dir), key, watch.say)
    finished = workspace.finished()
    if finished is not None:
        return finished
    with quiet.quiet():
        from cai.training.updates import loop

        return loop.train(training, method(training, workspace), workspace, watch)
