"""The losses against hand-worked numbers and independent definitions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from cai.training.updates import losses


def test_bce_by_hand() -> None:
    z = torch.tensor([0.0, 2.0, 2.0, 1.0])
    p = torch.tensor([0.3, 1.0, 0.0, 0.7])
    # ln 2; ln(1+e^-2); that plus z; ln(1+e^-1) + 0.3
    expected = torch.tensor([0.693147, 0.126928, 2.126928, 0.613262])
    torch.testing.assert_close(losses.bce(z, p), expected, atol=1e-6, rtol=0)


def test_bce_is_the_cross_entropy_and_pulls_towards_the_label() -> None:
    z = torch.linspace(-30, 30, 61, dtype=torch.float64, requires_grad=True)
    p = torch.linspace(0, 1, 61, dtype=torch.float64)
    loss = losses.bce(z, p)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(z, p, reduction="none"))
    (grad,) = torch.autograd.grad(loss.sum(), z)
    torch.testing.assert_close(grad, torch.sigmoid(z) - p)


def test_geometric_by_hand() -> None:
    z = torch.tensor([2.0, 2.0, 5.0, -1.0])
    p = torch.tensor([0.75, 1.0, 0.5, 0.25])
    # ln(1+e^-1); ln(1+e^-2); a tie is ln 2 whatever z; (2p-1) z = 0.5: ln(1+e^-0.5)
    expected = torch.tensor([0.313262, 0.126928, 0.693147, 0.474077])
    torch.testing.assert_close(losses.geometric(z, p), expected, atol=1e-6, rtol=0)


def test_a_tie_has_no_gradient_under_geometric_and_an_equalizing_one_under_bce() -> None:
    z = torch.tensor([3.0], requires_grad=True)
    tie = torch.tensor([0.5])
    assert torch.autograd.grad(losses.geometric(z, tie).sum(), z)[0].item() == 0.0
    assert torch.autograd.grad(losses.bce(z, tie).sum(), z)[0].item() > 0.4


@pytest.mark.parametrize("loss", [losses.bce, losses.geometric])
def test_swapping_the_pair_and_its_label_changes_nothing(loss) -> None:  # type: ignore[no-untyped-def]
    z, p = torch.randn(50, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
    torch.testing.assert_close(loss(z, p), loss(-z, 1 - p))


def test_dpo_logits_by_hand() -> None:
    values = [torch.tensor([value]) for value in (-4.0, -9.0, -5.0, -6.0)]
    # 0.1 * ((-4 + 5) - (-9 + 6)) = 0.4
    assert losses.dpo_logits(*values, beta=0.1).item() == pytest.approx(0.4)


@pytest.mark.parametrize("chunk", [1, 70, 1 << 24])
def test_token_logprobs_equal_log_softmax(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CHUNK_ELEMENTS", chunk)
    torch.manual_seed(0)
    logits = (20 * torch.randn(9, 31, dtype=torch.float64)).requires_grad_()
    targets, weights = torch.randint(31, (9,)), torch.randn(9, dtype=torch.float64)
    ours = losses.token_logprobs(logits, targets)
    theirs = F.log_softmax(logits, -1)[torch.arange(9), targets]
    torch.testing.assert_close(ours, theirs)
    (a,) = torch.autograd.grad((ours * weights).sum(), logits)
    (b,) = torch.autograd.grad((theirs * weights).sum(), logits)
    torch.testing.assert_close(a, b)
    assert torch.autograd.gradcheck(lambda x: losses.token_logprobs(x, targets), (logits,))


def test_token_logprobs_of_bfloat16_logits_are_float32_and_of_nothing_are_nothing() -> None:
    logits = torch.randn(3, 8, dtype=torch.bfloat16, requires_grad=True)
    values = losses.token_logprobs(logits, torch.tensor([0, 1, 7]))
    values.sum().backward()
    assert values.dtype == torch.float32
    assert logits.grad is not None and logits.grad.dtype == torch.bfloat16
    assert losses.token_logprobs(torch.zeros(0, 8), torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_sequence_logprobs_sum_over_completion_tokens_alone() -> None:
    # Uniform over V=4 at every position: each completion token costs ln 4.
    ids = torch.tensor([[1, 2, 3, 0], [1, 1, 2, 3]])
    completion = torch.tensor([[0, 0, 1, 0], [0, 1, 1, 1]], dtype=torch.bool)
    values = losses.sequence_logprobs(torch.zeros(4, 4), ids, completion)
    torch.testing.assert_close(values, torch.tensor([-math.log(4), -3 * math.log(4)]))
    # Row by row and token by token, for logits that differ.
    full = torch.randn(2, 4, 4)
    before = torch.zeros_like(completion)
    before[:, :-1] = completion[:, 1:]
    expected = [
        sum(float(F.log_softmax(full[b, t - 1], -1)[ids[b, t]]) for t in range(1, 4) if completion[b, t])
        for b in range(2)
    ]
    got = losses.sequence_logprobs(full[before], ids, completion)
    torch.testing.assert_close(got, torch.tensor(expected))


def test_parts_of_a_weighted_mean_add_up() -> None:
    values, weights = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 0.5, 0.5])
    parts = [losses.weighted_mean(values[i : i + 1], weights[i : i + 1], weights.sum()) for i in range(3)]
    assert float(sum(parts)) == pytest.approx(2.5)  # (1 + 1 + 3) / 2
