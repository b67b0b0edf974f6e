"""GAE, token rewards and whitening against independent definitions; PPO's gradient by exact enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cai.training.rl.advantages import KLController, gae, moments, token_rewards, whiten
from cai.training.rl.ppo_losses import importance_weights, policy_loss, value_loss

V, T = 8, 2


def sizes(seed: int, rows: int = 5, width: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Random rewards, values and a mask of rows of different lengths."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width + 1, (rows,), generator=g)
    mask = torch.arange(width)[None] < lengths[:, None]
    rewards = torch.randn(rows, width, generator=g, dtype=torch.float64)
    values = torch.randn(rows, width, generator=g, dtype=torch.float64)
    return rewards, values, mask


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_gae_is_its_definition(seed: int, gamma: float, lam: float) -> None:
    """A_t = Σ_l (γλ)^l (r_{t+l} + γ V_{t+l+1} - V_{t+l}), summed anew for every t: O(T²)."""
    rewards, values, mask = sizes(seed)
    found = gae(rewards, values, mask, gamma, lam)
    for b in range(len(rewards)):
        n = int(mask[b].sum())
        v = [*values[b, :n].tolist(), 0.0]
        for t in range(n):
            expected = sum(
                (gamma * lam) ** (k - t) * (rewards[b, k].item() + gamma * v[k + 1] - v[k])
                for k in range(t, n)
            )
            assert found[b, t].item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
        assert not found[b, n:].any()


@given(st.integers(0, 10_000))
def test_gae_with_lambda_1_and_no_values_is_the_reward_to_go(seed: int) -> None:
    rewards, _, mask = sizes(seed)
    found = gae(rewards, torch.zeros_like(rewards), mask, 1.0, 1.0)
    masked = torch.where(mask, rewards, 0.0)
    to_go = masked.flip(1).cumsum(1).flip(1)
    assert torch.allclose(found, torch.where(mask, to_go, 0.0), atol=1e-12)


def test_the_score_stands_at_the_last_token() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    kl = torch.tensor([[0.5, -1.0, 9.0], [0.0, 2.0, 1.0]])
    found = token_rewards(torch.tensor([3.0, -1.0]), kl, mask, 0.1)
    assert torch.allclose(found, torch.tensor([[-0.05, 3.1, 0.0], [0.0, -0.2, -1.1]]))


def test_whitening_ignores_padding_and_may_keep_the_mean() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values = torch.tensor([[1.0, 3.0, 100.0], [5.0, -100.0, 7.0]])
    mean, variance = moments(values, mask)
    assert (mean.item(), variance.item()) == (3.0, pytest.approx(8 / 3))
    white = whiten(values, mask)
    assert white[mask].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert white[mask].square().mean().item() == pytest.approx(1.0, abs=1e-6)
    assert not white[~mask].any()
    kept = whiten(values, mask, shift=False)
    assert kept[mask].mean().item() == pytest.approx(3.0)
    assert torch.allclose(kept[mask] - kept[mask].mean(), white[mask])


def test_whitening_sums_over_processes() -> None:
    """Two halves that see each other's sums give what one process gives."""
    values, _, mask = sizes(3, rows=6)
    whole = whiten(values, mask)
    halves = [(values[:3], mask[:3]), (values[3:], mask[3:])]

    def count_and_sum(v: Tensor, m: Tensor) -> Tensor:
        return torch.stack([torch.where(m, v, 0.0).sum(), m.sum().double()])

    total = sum((count_and_sum(*half) for half in halves), torch.zeros(2, dtype=torch.float64))
    mean = total[0] / total[1]
    squares = sum((torch.where(m, (v - mean) ** 2, 0.0).sum() for v, m in halves), torch.tensor(0.0))
    for i, (v, m) in enumerate(halves):
        answers = iter([total, squares])
        found = whiten(v, m, reduce=lambda _, answers=answers: next(answers))
        assert torch.allclose(found, whole[3 * i : 3 * i + 3])


def test_an_adaptive_price_steers_to_its_target() -> None:
    fixed = KLController(0.05)
    assert fixed.after(100.0, 512) == fixed
    adaptive = KLController(0.05, target=6.0, horizon=10_000)
    assert adaptive.after(12.0, 500).beta == pytest.approx(0.05 * (1 + 0.2 * 500 / 10_000))
    assert adaptive.after(0.0, 500).beta == pytest.approx(0.05 * (1 - 0.2 * 500 / 10_000))
    assert adaptive.after(6.3, 500).beta == pytest.approx(0.05 * (1 + 0.05 * 500 / 10_000))


# --- the gradient, by enumeration of all V^T responses ------------------------------------------


def policy_table(logits: Tensor, response: tuple[int, ...]) -> Tensor:
    """log π of each token of a response under a table of logits by prefix: logits [1 + V, V]."""
    rows = [0, 1 + response[0]]
    return torch.stack(
        [logits[row].log_softmax(-1)[token] for row, token in zip(rows, response, strict=True)]
    )


def enumerated(seed: int) -> tuple[Tensor, Tensor, Tensor, list[tuple[int, ...]]]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(1 + V, V, generator=g, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(1 + V, V, generator=g, dtype=torch.float64)
    reward = torch.randn(V**T, generator=g, dtype=torch.float64)
    return logits, reference, reward, list(itertools.product(range(V), repeat=T))


@pytest.mark.parametrize("beta", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gradient_is_that_of_reward_less_kl(seed: int, beta: float) -> None:
    """At ratio 1 the PPO loss over all responses, each weighing its probability, has the exact gradient."""
    logits, reference, reward, responses = enumerated(seed)
    logp = torch.stack([policy_table(logits, r) for r in responses])  # [V^T, T]
    ref = torch.stack([policy_table(reference, r) for r in responses])
    objective = (logp.sum(1).exp() * (reward - beta * (logp - ref).sum(1))).sum()
    (true,) = torch.autograd.grad(objective, logits, retain_graph=True)

    old = logp.detach()
    mask = torch.ones_like(old, dtype=torch.bool)
    rewards = token_rewards(reward, old - ref, mask, beta)
    advantages = gae(rewards, torch.zeros_like(old), mask, 1.0, 1.0)
    probability = old.sum(1, keepdim=True).exp().expand_as(old)
    update = policy_loss(
        logp.flatten(), old.flatten(), advantages.flatten(), probability.flatten(), clip=0.2, total=1.0
    )
    (found,) = torch.autograd.grad(-update.loss, logits)
    assert (found - true).norm() / true.norm() < 1e-6
    assert update.clipped.item() == 0
    assert update.kl.abs().item() < 1e-12


@pytest.mark.parametrize("seed", [0, 1])
def test_a_baseline_changes_no_gradient(seed: int) -> None:
    """Values that depend on the state alone drop out of the expectation, whatever they are."""
    logits, reference, reward, responses = enumerated(seed)
    logp = torch.stack([policy_table(logits, r) for r in responses])
    old, ref = logp.detach(), torch.stack([policy_table(reference, r) for r in responses])
    mask = torch.ones_like(old, dtype=torch.bool)
    table = torch.randn(1 + V, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    values = torch.tensor([[table[0], table[1 + r[0]]] for r in responses], dtype=torch.float64)
    probability = old.sum(1, keepdim=True).exp().expand_as(old).flatten()
    gradients = []
    for baseline in (torch.zeros_like(values), values):
        advantages = gae(token_rewards(reward, old - ref, mask, 0.1), baseline, mask, 1.0, 1.0)
        loss = policy_loss(
            logp.flatten(), old.flatten(), advantages.flatten(), probability, clip=0.2, total=1.0
        ).loss
        gradients.append(torch.autograd.grad(loss, logits, retain_graph=True)[0])
    assert torch.allclose(gradients[0], gradients[1], atol=1e-12)


# --- the losses ---------------------------------------------------------------------------------


def test_the_clipped_loss_by_hand() -> None:
    """Ratios 1.5 and 0.5 with ε = 0.2: clipping bites only where it makes the loss larger."""
    log_ratio = torch.tensor([math.log(1.5), math.log(1.5), math.log(0.5), math.log(0.5)])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    update = policy_loss(log_ratio, torch.zeros(4), advantages, torch.ones(4), clip=0.2, total=4.0)
    assert update.loss.item() == pytest.approx((-1.2 + 1.5 - 0.5 + 0.8) / 4)
    assert update.clipped.item() == 2
    k3 = 2 * (0.5 - math.log(1.5)) + 2 * (-0.5 - math.log(0.5))
    assert update.kl.item() == pytest.approx(k3, rel=1e-5)


def test_the_clipped_value_loss_by_hand() -> None:
    values, old = torch.tensor([1.0, 1.0, 0.1]), torch.zeros(3)
    returns = torch.tensor([2.0, 0.0, 1.0])
    update = value_loss(values, old, returns, clip=0.2, total=3.0)
    # clipped to 0.2: (0.2-2)² > (1-2)²; (0.2-0)² < (1-0)²; not clipped: (0.1-1)²
    assert update.loss.item() == pytest.approx(0.5 * (3.24 + 1.0 + 0.81) / 3)
    assert update.clipped.item() == 1


def test_parts_add_up_to_the_whole() -> None:
    g = torch.Generator().manual_seed(0)
    columns = [torch.randn(12, generator=g, dtype=torch.float64) for _ in range(3)]
    weights = torch.rand(12, generator=g, dtype=torch.float64)
    whole = policy_loss(*columns, weights, clip=0.2, total=12.0).loss
    parts = [
        policy_loss(*(c[rows] for c in columns), weights[rows], clip=0.2, total=12.0).loss
        for rows in (slice(0, 5), slice(5, 6), slice(6, 12))
    ]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-12)


def test_importance_weights_are_cut_off_above_only() -> None:
    trainer = torch.tensor([0.0, 1.0, -2.0], requires_grad=True)
    weights = importance_weights(trainer, torch.zeros(3), cap=2.0)
    assert torch.allclose(weights, torch.tensor([1.0, 2.0, math.exp(-2.0)]))
    assert not weights.requires_grad
