"""Noise of draws: numpy's on a CPU, the same numbers as ever; the device's own elsewhere."""

from __future__ import annotations

import pytest
import torch

from cai.engines.local import sampling_noise
from cai.engines.local.sampling import Drawer
from cai.engines.local.sampling_noise import DeviceNoise, HostNoise, noise_lines, noise_of
from cai.values.types import Sampling

CPU = torch.device("cpu")
STORED = [1.3434134, 0.0383725, 0.0103582, 0.2838893, 0.2586892]


def test_a_cpu_draws_the_numbers_that_it_has_always_drawn() -> None:
    """Stored runs rest on them; they were written down before there was another kind of noise."""
    noise = noise_of(7, 5, CPU)
    assert isinstance(noise, HostNoise)
    first = noise.line().tolist()
    assert first == pytest.approx(STORED, abs=1e-6)
    wide = noise_of(7, 40_000, CPU)  # wider than what is drawn at a time
    assert wide.line()[:5].tolist() == pytest.approx(STORED, abs=1e-6)
    assert not torch.equal(wide.line(), noise_of(7, 40_000, CPU).line())


def test_a_device_s_noise_is_exponential_and_its_seed_s_own() -> None:
    drawn = torch.stack([DeviceNoise(seed, 2000, CPU).line() for seed in range(50)]).double()
    assert drawn.mean().item() == pytest.approx(1.0, abs=0.02) and drawn.var().item() == pytest.approx(
        1.0, abs=0.05
    )
    assert (drawn > 0).all() and drawn.dtype == torch.float64
    again, row = DeviceNoise(3, 2000, CPU), DeviceNoise(3, 2000, CPU)
    assert torch.equal(again.line(), row.line()) and torch.equal(again.line(), row.line())
    assert not torch.equal(DeviceNoise(3, 50, CPU).line(), DeviceNoise(4, 50, CPU).line())
    assert not torch.equal(row.line(), row.line())
    DeviceNoise(-1, 5, CPU), DeviceNoise(2**64 + 5, 5, CPU)


def test_on_a_gpu_the_device_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int, torch.device]] = []
    monkeypatch.setattr(sampling_noise, "DeviceNoise", lambda *args: made.append(args))
    noise_of(3, 50, torch.device("cuda"))
    assert made == [(3, 50, torch.device("cuda"))]
    assert isinstance(noise_of(3, 50, torch.device("mps")), HostNoise)


def test_rows_have_their_own_lines_whatever_is_in_the_batch() -> None:
    logits = torch.zeros(3, 11, dtype=torch.bfloat16)
    lines = noise_lines([HostNoise(1, 11), None, HostNoise(2, 11)], logits)
    assert lines.dtype == torch.float32
    assert torch.equal(lines[0], HostNoise(1, 11).line()) and torch.equal(lines[2], HostNoise(2, 11).line())
    assert torch.equal(lines[1], torch.ones(11))


def test_draws_from_a_device_s_noise_have_the_model_s_probabilities() -> None:
    wanted = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = [DeviceNoise(seed, 4, CPU) for seed in range(4000)]
    logits = wanted.log().repeat(len(rows), 1)
    tokens, _ = Drawer([Sampling()] * len(rows), CPU).draw(logits, noise_lines(rows, logits))
    found = torch.bincount(tokens, minlength=4) / len(rows)
    assert (found - wanted).abs().max() < 0.03
