"""The functions that objectives are built from, by hand and against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dagsdk import Needs, Stateless, Transitions
from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import Old, StateFlow
from dagsdk.objectives.toolbox import (
    beta_at,
    clipped_surrogate,
    group_means,
    leave_one_out,
    policy_loss,
    residual,
)


def transitions(log_pf: list[float], signal: list[float] | None = None, **parts: object) -> Transitions:
    """Transitions with log_pb = 1, and with these parts by the name of their need."""
    values = torch.tensor(log_pf, dtype=torch.float64).requires_grad_()
    zeros = torch.zeros_like(values.detach())
    return Transitions(
        log_pf=values,
        log_pb=zeros + 1,
        log_reward=zeros,
        is_last=zeros.bool(),
        step=zeros.long(),
        signal=zeros if signal is None else torch.tensor(signal, dtype=torch.float64),
        parts={Needs[name]: part for name, part in parts.items()},
    )


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- β's schedule ---


def test_beta_rises_over_a_share_of_the_epochs() -> None:
    rise = [beta_at(100.0, e, 10, 0.5) for e in range(10)]
    assert rise == [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 100.0, 100.0, 100.0, 100.0]
    assert [beta_at(8.0, e, 4, 1.0) for e in range(4)] == [0.0, 2.0, 4.0, 6.0]


def test_without_a_warmup_beta_is_there_from_the_start() -> None:
    assert [beta_at(3.0, e, 10, 0.0) for e in range(3)] == [3.0] * 3


# --- no state ---


class Nothing(Stateless):
    pass


def test_a_stateless_objective_takes_an_empty_state_only() -> None:
    assert Nothing().state_dict() == {}
    Nothing().load_state_dict({})
    with pytest.raises(TrainingError, match=r"Nothing has no state, but was given \['x'\]"):
        Nothing().load_state_dict({"x": 1})


# --- the residual ---


@pytest.mark.parametrize("share", [1.0, 0.25, 0.0])
def test_residual_by_hand_and_its_gradients(share: float) -> None:
    here, there = numbers(2.0, -1.0).requires_grad_(), numbers(0.5, 3.0).requires_grad_()
    batch = transitions([0.25, -0.5], STATE_FLOW=StateFlow(here=here, next=there))
    delta = residual(batch, batch.log_pf, share)
    torch.testing.assert_close(delta, numbers(2 + 0.25 - 0.5 - 1, -1 - 0.5 - 3 - 1))
    leaves = (here, there, batch.log_pf)
    gradients = torch.autograd.grad(delta.sum(), leaves, allow_unused=True, materialize_grads=True)
    assert [gradient.tolist() for gradient in gradients] == [[1.0] * 2, [-share] * 2, [1.0] * 2]


def test_a_detached_policy_has_no_gradient() -> None:
    flow = StateFlow(here=numbers(2.0).requires_grad_(), next=numbers(0.5))
    batch = transitions([0.25], STATE_FLOW=flow)
    (gradient,) = torch.autograd.grad(residual(batch, batch.log_pf.detach()).sum(), batch.log_pf, allow_unused=True)
    assert gradient is None


def test_without_a_state_flow_it_says_what_is_missing() -> None:
    batch = transitions([0.0])
    with pytest.raises(TrainingError, match=r"no `state_flow`.*Needs\.STATE_FLOW"):
        residual(batch, batch.log_pf)


# --- the clipped surrogate, and the policy loss made of it ---


def test_surrogate_by_hand() -> None:
    advantage, ratio = numbers(1.0, 1.0, -1.0, -1.0), numbers(1.5, 0.5, 1.5, 0.5)
    torch.testing.assert_close(clipped_surrogate(advantage, ratio.log(), 0.1), numbers(-1.1, -0.5, 1.5, 0.9))


def sampled(ratios: list[float], advantages: list[float]) -> Transitions:
    """Transitions with these ratios to the policy that sampled, whose log p_F was 0."""
    return transitions(numbers(*ratios).log().tolist(), advantages, OLD=Old(log_pf=numbers(*[0.0] * len(ratios))))


def test_policy_loss_of_five_transitions_by_hand() -> None:
    # clip_range 0.2. In turn: unmoved; A > 0 beyond the range; A > 0 below it; A < 0 beyond it; A < 0 below it.
    batch = sampled([1.0, 1.5, 0.5, 1.5, 0.5], [2.0, 2.0, 2.0, -2.0, -2.0])
    values, metrics = policy_loss(batch, 0.2)
    torch.testing.assert_close(values, numbers(-2.0, -2.4, -1.0, 3.0, 1.6))
    assert metrics["clipped"].tolist() == [0, 1, 1, 1, 1]
    up, down = 0.4054651081, 0.6931471806  # log 1.5, log 2
    torch.testing.assert_close(metrics["ratio_gap"], numbers(0.0, up, down, up, down))
    # d(-A ρ)/d log p_F = -A ρ where the ratio is not clipped away, else 0
    (gradient,) = torch.autograd.grad(values.sum(), batch.log_pf)
    torch.testing.assert_close(gradient, numbers(-2.0, 0.0, -1.0, 3.0, 0.0))


@pytest.mark.parametrize("advantage", [5.0, 0.0, -5.0])
@pytest.mark.parametrize("moved", [-1e4, -100.0, 100.0, 1e4])
def test_policy_loss_never_overflows(advantage: float, moved: float) -> None:
    log_pf = torch.tensor([moved]).requires_grad_()  # float32
    batch = Transitions(
        log_pf=log_pf,
        log_pb=torch.zeros(1),
        log_reward=torch.zeros(1),
        is_last=torch.zeros(1, dtype=torch.bool),
        step=torch.zeros(1, dtype=torch.int64),
        signal=torch.tensor([advantage]),
        parts={Needs.OLD: Old(log_pf=torch.zeros(1))},
    )
    values, metrics = policy_loss(batch, 1e-4)
    (gradient,) = torch.autograd.grad(values.sum(), log_pf)
    assert values.isfinite().all() and gradient.isfinite().all()
    assert all(metric.isfinite().all() for metric in metrics.values())


def test_without_the_old_policy_it_says_what_is_missing() -> None:
    with pytest.raises(TrainingError, match=r"no `old`.*Needs\.OLD to"):
        policy_loss(transitions([0.0]), 0.1)


# --- baselines ---


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_leave_one_out_is_its_definition(n: int) -> None:
    values = torch.linspace(-1, 2, n, dtype=torch.float64) ** 2
    result = leave_one_out(values)
    assert result.isfinite().all()
    if n < 2:
        assert torch.equal(result, values)
        return
    others = [torch.cat([values[:i], values[i + 1 :]]) for i in range(n)]
    centred = torch.stack([v - o.mean() for v, o in zip(values, others, strict=True)])
    if n > 2:
        squares = [torch.cat([centred[:i], centred[i + 1 :]]).square().mean() for i in range(n)]
        centred = centred / (torch.stack(squares).sqrt() + 1e-8)
    torch.testing.assert_close(result, centred, rtol=1e-9, atol=1e-12)


def test_leave_one_out_of_equal_values_is_zero() -> None:
    assert leave_one_out(numbers(0.25, 0.25, 0.25, 0.25)).tolist() == [0.0] * 4


def test_group_means_by_hand() -> None:
    # groups need not be neighbours, nor numbered from 0
    means = group_means(numbers(1.0, 10.0, 3.0, 30.0, -7.0), torch.tensor([9, 4, 9, 4, 5]))
    assert means.tolist() == [2.0, 20.0, 2.0, 20.0, -7.0]
    assert group_means(numbers(1.0, 2.0, 6.0), torch.zeros(3, dtype=torch.int64)).tolist() == [3.0] * 3
