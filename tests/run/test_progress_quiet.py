"""What --quiet silences, and what it must not."""

from __future__ import annotations

import pytest

from cai.run.progress import Plain, Silent, for_stream


def test_losses_are_told_under_quiet_and_nothing_else_is(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = for_stream(True)
    quiet.say("[1/2] generate")
    quiet.warn("metrics.json: damaged; it counts as absent")
    with quiet.bar("generate", 2) as bar:
        bar.advance(2)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "metrics.json: damaged; it counts as absent\n")


def test_others_tell_a_loss_as_they_tell_anything(capsys: pytest.CaptureFixture[str]) -> None:
    Plain().warn("dropped")
    Silent().warn("of another process")
    assert capsys.readouterr().err == "dropped\n"
