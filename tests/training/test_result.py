"""What a training's result says of itself."""

from __future__ import annotations

from pathlib import Path

from cai.training.result import TrainResult


def result(*history: dict[str, float]) -> TrainResult:
    return TrainResult(Path("x"), len(history), 8, 100, 1.0, history)


def test_figures_are_means_over_the_recent_updates_that_have_them() -> None:
    entries = [{"loss": float(n), "kl": 1.0} for n in range(28)] + [{"loss": 28.0}, {"loss": 32.0, "kl": 3.0}]
    assert result(*entries).metrics == {"loss": (27 + 28 + 32) / 3, "kl": 2.0}


def test_the_guard_that_ended_a_training_is_named_and_is_no_figure() -> None:
    ended = result({"kl": 1.0}, {"kl": 9.0, "stopped_by_max_kl": 1.0})
    assert ended.guard == "max_kl"
    assert ended.metrics == {"kl": 5.0}
    assert result({"kl": 1.0}).guard is None
    assert result().metrics == {}
